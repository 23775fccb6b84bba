// The four lists: guests, hosts, groups and faults.

import { get } from "../api.js";
import { h, refill } from "../dom.js";
import { words } from "../format.js";
import { changed, href } from "../routes.js";
import { Table } from "../table.js";
import { FAULT, GROUP, GUEST, HOST } from "./columns.js";
import { ListView, PAGE } from "./list.js";

export const guests = (_id, query) =>
  new ListView({
    title: "Guests",
    kind: "instances",
    columns: [
      GUEST.name,
      GUEST.verdict,
      GUEST.host,
      GUEST.uuid,
      GUEST.interval,
      GUEST.roundTrip,
      GUEST.seen,
    ],
    rowKey: (guest) => guest.uuid,
    query,
    empty: "No such guest. Host agents report those whose flavor or port asks for it.",
  });

export const hosts = (_id, query) =>
  new ListView({
    title: "Hosts",
    kind: "hosts",
    columns: [
      HOST.name,
      HOST.verdict,
      HOST.guests,
      HOST.how,
      HOST.lateness,
      HOST.waiting,
      HOST.version,
    ],
    rowKey: (host) => host.host,
    query,
    empty: "No such host. A compute node is here once its agent has reported.",
  });

export const groups = (_id, query) =>
  new ListView({
    title: "Groups",
    kind: "groups",
    columns: [GROUP.name, GROUP.verdict, GROUP.members, GROUP.how],
    rowKey: (group) => group.id,
    query,
    empty: "No such server group. They come from Nova, or from [groups] static_file.",
  });

const WHICH = { "": "All", true: "Open", false: "Cleared" };

/** The newest first; "Older" goes on behind the last one. */
export class Faults {
  constructor(_id, query) {
    this.title = "Faults";
    this.query = query;
    this.active = query.active ?? "";
    this.table = new Table({
      caption: "Faults, the newest first",
      columns: [
        FAULT.what,
        FAULT.severity,
        FAULT.status,
        FAULT.where,
        FAULT.raised,
        FAULT.lasted,
        FAULT.told,
      ],
      rowKey: (fault) => fault.id,
      empty: "No such fault.",
    });
    this.pages = h("div", {});
    const chips = Object.entries(WHICH).map(([value, text]) => {
      const current = value === this.active ? "true" : null;
      return h(
        "li",
        {},
        h("a", { class: "chip", href: changed({ active: value }), "aria-current": current }, text),
      );
    });
    this.element = h(
      "div",
      {},
      h("h1", { tabindex: "-1" }, "Faults"),
      query.kind
        ? h(
            "p",
            { class: "searched" },
            `Only: ${words(query.kind)}. `,
            h("a", { href: changed({ kind: "" }) }, "All kinds"),
          )
        : null,
      h("ul", { class: "chips", "aria-label": "Faults by status" }, chips),
      h("div", { class: "panel flush" }, this.table.element),
      this.pages,
    );
  }

  async refresh() {
    const { marker = "", kind = "" } = this.query;
    const wanted = { active: this.active, marker, kind, limit: PAGE };
    const { faults } = await get("/faults", wanted);
    this.table.update(faults);
    const older = faults.length === PAGE ? changed({ marker: faults.at(-1).id }) : null;
    const newest = href("faults", "", { active: this.active, kind });
    refill(
      this.pages,
      marker || older
        ? h(
            "nav",
            { class: "pager", "aria-label": "Pages" },
            marker
              ? h("a", { class: "button", href: newest }, "Newest")
              : h("span", { class: "button off" }, "Newest"),
            older
              ? h("a", { class: "button", href: older }, "Older")
              : h("span", { class: "button off" }, "Older"),
          )
        : null,
    );
  }
}
