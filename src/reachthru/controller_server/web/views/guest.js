// One guest: how it is, how quickly it answers, what it says of its health, what befell it.

import { get } from "../api.js";
import { facts, fullTime, groupLink, hostLink, icon, panel, verdictBadge } from "../badges.js";
import { h, refill } from "../dom.js";
import { interval, words } from "../format.js";
import { sparkline } from "../sparkline.js";
import { Table } from "../table.js";
import { FAULT } from "./columns.js";

const HISTORY = 50;

export class Guest {
  constructor(id) {
    this.id = id;
    this.title = "Guest";
    this.heading = h("h1", { tabindex: "-1" }, id);
    this.badge = h("div", {});
    this.facts = h("div", {});
    this.spark = h("div", {});
    this.health = h("div", {});
    this.history = new Table({
      caption: "Faults of this guest, the newest first",
      columns: [FAULT.what, FAULT.severity, FAULT.status, FAULT.raised, FAULT.lasted, FAULT.told],
      rowKey: (fault) => fault.id,
      empty: "Nothing has befallen it, as far as the controller remembers.",
    });
    this.element = h(
      "div",
      {},
      h("p", { class: "kind" }, "Guest"),
      h("div", { class: "head" }, this.heading, this.badge),
      h(
        "div",
        { class: "pair" },
        panel("Heartbeat round trip", {}, this.spark),
        panel("Health", {}, this.health),
      ),
      panel("Facts", {}, this.facts),
      panel("History", { class: "flush" }, this.history.element),
    );
  }

  async refresh() {
    const [found, { faults }] = await Promise.all([
      get(`/instances/${encodeURIComponent(this.id)}`).catch(whereGone),
      get("/faults", { instance: this.id, limit: HISTORY }),
    ]);
    this.history.update(faults);
    if (found === null) {
      this.#showGone(faults);
      return;
    }
    const [guest] = found.instances;
    this.title = guest.name || this.id;
    refill(this.heading, this.title);
    refill(this.badge, verdictBadge(guest.verdict));
    refill(this.spark, sparkline(found.round_trips));
    refill(this.health, ...health(guest));
    refill(this.facts, guestFacts(guest, found.groups));
  }

  /** It has left; what is known of it are its faults. */
  #showGone(faults) {
    this.title = faults[0]?.instance_name || this.id;
    refill(this.heading, this.title);
    refill(this.badge, h("p", { class: "muted" }, "No host carries it now."));
    refill(this.spark, h("p", { class: "empty" }, "It is not here."));
    refill(this.health, h("p", { class: "empty" }, "It is not here."));
    refill(this.facts, facts([["UUID", h("span", { class: "mono" }, this.id)]]));
  }
}

function whereGone(error) {
  if (error.status === 404) return null;
  throw error;
}

function health(guest) {
  if (!guest.registered)
    return [
      h("p", { class: "verdict" }, icon("unwatched"), "No guest daemon has registered"),
      h("p", { class: "muted" }, guest.note),
    ];
  if (guest.health === null)
    return [h("p", { class: "verdict" }, icon("unknown"), "It has not answered yet")];
  const well = guest.health === "healthy";
  return [
    h(
      "p",
      { class: "verdict" },
      icon(well ? "well" : "unwell"),
      well ? "It says that it is healthy" : "It says that it is unhealthy",
    ),
    guest.health_detail
      ? h("p", { class: "quote" }, guest.health_detail)
      : h(
          "p",
          { class: "muted" },
          "Its health checks and registered applications gave no message.",
        ),
  ];
}

const guestFacts = (guest, groups) =>
  facts([
    ["UUID", h("span", { class: "mono" }, guest.uuid)],
    ["Host", hostLink(guest.host)],
    ["Hypervisor says", words(guest.state)],
    ["Challenged each", guest.interval_ms === null ? "not at all" : interval(guest.interval_ms)],
    ["Last answer", guest.last_seen_at ? fullTime(guest.last_seen_at) : "never"],
    ["Group", groups.length ? groups.map((id) => groupLink(id, id)) : null],
    ["Note", guest.note],
  ]);
