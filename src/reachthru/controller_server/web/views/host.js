// One compute node: its agent, its guests the worst first, and what was wrong there.

import { get } from "../api.js";
import { bar, facts, filters, pager, panel, verdictBadge } from "../badges.js";
import { h, refill } from "../dom.js";
import { count, milliseconds, words } from "../format.js";
import { Table } from "../table.js";
import { FAULT, GUEST, hostWords } from "./columns.js";
import { PAGE } from "./list.js";

export class Host {
  constructor(id, query) {
    this.id = id;
    this.title = id;
    this.query = query;
    this.offset = Math.max(0, Number.parseInt(query.offset ?? "0", 10) || 0);
    this.badge = h("div", {});
    this.facts = h("div", {});
    this.chips = h("div", { class: "inside" });
    this.pages = h("div", { class: "inside" });
    this.guests = new Table({
      caption: "Guests of this host, the worst first",
      columns: [GUEST.name, GUEST.verdict, GUEST.interval, GUEST.roundTrip, GUEST.seen],
      rowKey: (guest) => guest.uuid,
      empty: "No such guest here.",
    });
    this.faults = new Table({
      caption: "Faults on this host, the newest first",
      columns: [FAULT.what, FAULT.severity, FAULT.status, FAULT.where, FAULT.raised],
      rowKey: (fault) => fault.id,
      empty: "None.",
    });
    this.element = h(
      "div",
      {},
      h("p", { class: "kind" }, "Host"),
      h("div", { class: "head" }, h("h1", { tabindex: "-1" }, id), this.badge),
      panel("Agent", {}, this.facts),
      panel("Guests", { class: "flush" }, this.chips, this.guests.element, this.pages),
      panel("Faults", { class: "flush" }, this.faults.element),
    );
  }

  async refresh() {
    const { verdict = "", sort = "worst" } = this.query;
    const wanted = { host: this.id, verdict, sort, offset: this.offset, limit: PAGE };
    const [{ hosts }, guests, { faults }] = await Promise.all([
      get("/hosts", { host: this.id }),
      get("/instances", wanted),
      get("/faults", { host: this.id, limit: PAGE }),
    ]);
    const [host] = hosts;
    refill(
      this.badge,
      host ? verdictBadge(host.verdict) : h("p", { class: "muted" }, "No agent of it is known."),
    );
    refill(this.facts, host ? hostFacts(host) : null);
    refill(this.chips, host ? filters("Guests by state", host.verdicts, verdict) : null);
    this.guests.update(guests.instances, sort);
    refill(this.pages, pager(this.offset, PAGE, guests.instances.length, guests.total));
    this.faults.update(faults);
  }
}

const hostFacts = (host) =>
  facts([
    ["Agent", `${words(host.state)}, version ${host.agent_version}`],
    ["Guests", [`${count(host.guests)} `, bar(host.verdicts)]],
    ["Needs a look", hostWords(host)],
    ["Its agent woke late by", milliseconds(host.lateness_ms)],
    ["Fault changes not yet acknowledged", count(host.waiting)],
    ["Outbox", host.outbox_durable ? "on disk" : "in memory only: it can't be written"],
  ]);
