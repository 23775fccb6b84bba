// One fault: what, where, when; each change's way stage by stage, and who was told.

import { get } from "../api.js";
import {
  deliveryBadge,
  facts,
  fullTime,
  guestLink,
  hostLink,
  panel,
  severityBadge,
  statusBadge,
  time,
} from "../badges.js";
import { h, refill } from "../dom.js";
import { count, lasting, plural, words } from "../format.js";
import { href } from "../routes.js";
import { Table } from "../table.js";
import { timeline } from "../timeline.js";

const NAMED = 100; // instances of a lost host

const DELIVERY = [
  { label: "Sink", cell: (delivery) => delivery.sink },
  { label: "State", cell: deliveryBadge },
  { label: "Attempts", class: "number", cell: (delivery) => count(delivery.attempts) },
  {
    label: "Last error",
    cell: (delivery) =>
      delivery.last_error
        ? h("span", { class: "mono" }, delivery.last_error)
        : h("span", { class: "muted" }, "none"),
  },
  {
    label: "Next attempt",
    class: "wide",
    cell: (delivery) =>
      delivery.next_attempt_at
        ? time(delivery.next_attempt_at)
        : h("span", { class: "muted" }, "–"),
  },
];

export class Fault {
  constructor(id) {
    this.id = id;
    this.title = "Fault";
    this.heading = h("h1", { tabindex: "-1" }, "Fault");
    this.badges = h("div", { class: "badges" });
    this.facts = h("div", {});
    this.instances = h("div", {});
    this.changes = {
      raised: new Change("Raised", "How the news of it went"),
      cleared: new Change("Cleared", "How the news of its end went"),
    };
    this.element = h(
      "div",
      {},
      h("p", { class: "kind" }, "Fault"),
      h("div", { class: "head" }, this.heading, this.badges),
      panel("Facts", {}, this.facts),
      this.changes.cleared.element,
      this.changes.raised.element,
      this.instances,
    );
  }

  async refresh() {
    const { changes } = await get(`/faults/${encodeURIComponent(this.id)}`);
    const fault = changes.at(-1);
    this.title = `${words(fault.kind)}, ${fault.instance_name || fault.host}`;
    refill(this.heading, words(fault.kind));
    refill(this.badges, statusBadge(fault.status), severityBadge(fault.severity));
    refill(this.facts, faultFacts(changes));
    for (const [status, change] of Object.entries(this.changes))
      change.update(changes.find((item) => item.status === status));
    // Attempts to tell a sink are no news that the controller spreads.
    this.goesOn = fault.deliveries.some(({ state }) => state === "pending");
    refill(this.instances, fault.instances.length ? carried(fault.instances) : null);
  }
}

class Change {
  constructor(title, caption) {
    this.way = h("div", {});
    this.told = new Table({
      caption: `${title}: who was told`,
      columns: DELIVERY,
      rowKey: (delivery) => delivery.sink,
      empty: "No sink is enabled.",
    });
    this.element = panel(
      title,
      { hidden: true, class: "flush" },
      h("p", { class: "muted inside" }, `${caption}; times are from its detection.`),
      this.way,
      this.told.element,
    );
  }

  update(fault) {
    this.element.hidden = fault === undefined;
    if (fault === undefined) return;
    refill(this.way, timeline(fault));
    this.told.update(fault.deliveries);
  }
}

function faultFacts(changes) {
  const raised = changes[0];
  const fault = changes.at(-1);
  return facts([
    ["Guest", fault.instance_uuid ? guestLink(fault.instance_uuid, fault.instance_name) : null],
    ["Host", hostLink(fault.host)],
    ["What was seen", raised.detail],
    ["Why it ended", fault.status === "cleared" ? fault.detail : null],
    ["Raised", fullTime(fault.raised_at)],
    ["Cleared", fault.cleared_at ? fullTime(fault.cleared_at) : null],
    [fault.cleared_at ? "Lasted" : "Lasts for", lasting(fault.raised_at, fault.cleared_at)],
    [
      "Corrective action that the guest asks for",
      fault.corrective_action === "none" ? null : words(fault.corrective_action),
    ],
    [
      "Caused by",
      fault.correlated_to
        ? h(
            "a",
            { href: href("faults", fault.correlated_to), class: "name" },
            "the loss of its host",
          )
        : null,
    ],
    [
      "Maintenance window, because of which nobody is told",
      fault.maintenance ? h("span", { class: "mono" }, fault.maintenance) : null,
    ],
    ["Id", h("span", { class: "mono" }, fault.id)],
  ]);
}

function carried(uuids) {
  const more = uuids.length - NAMED;
  return panel(
    plural(uuids.length, "guest that it carried", "guests that it carried"),
    {},
    h(
      "ul",
      { class: "uuids" },
      uuids.slice(0, NAMED).map((uuid) => h("li", {}, guestLink(uuid, uuid))),
    ),
    more > 0 ? h("p", { class: "muted" }, `and ${count(more)} more`) : null,
  );
}
