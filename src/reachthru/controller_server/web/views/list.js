// A long list: filtered, sorted and cut by the controller, so that 10,000 are as quick as ten.

import { get } from "../api.js";
import { filters, pager } from "../badges.js";
import { h, refill } from "../dom.js";
import { Table } from "../table.js";

export const PAGE = 50;

/**
 * kind: "instances", "hosts" or "groups", as REST and its summary call them. The element has a
 * heading, filters by verdict, the table and the ways to the other pages.
 */
export class ListView {
  constructor({ title, kind, columns, rowKey, query, empty }) {
    this.title = title;
    this.kind = kind;
    this.query = query;
    this.sort = query.sort ?? "worst";
    this.offset = Math.max(0, Number.parseInt(query.offset ?? "0", 10) || 0);
    this.table = new Table({ caption: title, columns, rowKey, empty });
    this.chips = h("div", {});
    this.pages = h("div", {});
    this.element = h(
      "div",
      {},
      h("h1", { tabindex: "-1" }, title),
      query.q ? h("p", { class: "searched" }, "Those with ", h("q", {}, query.q)) : null,
      this.chips,
      h("div", { class: "panel flush" }, this.table.element),
      this.pages,
    );
  }

  async refresh() {
    const { q = "", verdict = "" } = this.query;
    const wanted = { search: q, verdict, sort: this.sort, offset: this.offset, limit: PAGE };
    const [summary, answer] = await Promise.all([get("/summary"), get(`/${this.kind}`, wanted)]);
    const items = answer[this.kind];
    refill(this.chips, filters(`${this.title} by state`, summary[this.kind], verdict));
    this.table.update(items, this.sort);
    refill(this.pages, pager(this.offset, PAGE, items.length, answer.total));
  }
}
