// A table whose rows stay where they are while what they say changes.

import { h, refill } from "./dom.js";
import { changed } from "./routes.js";

export class Table {
  /**
   * columns: [{label, key: its name in `sort` (none: not sortable), first: "-" to begin with the
   * last, class, cell: (item) => node or text}]; the first one is the row's header.
   * rowKey(item): what makes it the same row as before. empty: what to say where there is none.
   */
  constructor({ caption, columns, rowKey, empty }) {
    this.columns = columns;
    this.rowKey = rowKey;
    this.rows = new Map();
    // Roles, since on a phone rows are laid out otherwise and some browsers then forget them.
    this.body = h("tbody", { role: "rowgroup", onkeydown: (event) => this.#move(event) });
    this.head = h("tr", { role: "row" });
    this.nothing = h("p", { class: "empty", hidden: true }, empty);
    this.table = h(
      "table",
      { role: "table" },
      h("caption", { class: "hidden" }, caption),
      h("thead", { role: "rowgroup" }, this.head),
      this.body,
    );
    this.element = h("div", { class: "table" }, this.table, this.nothing);
  }

  update(items, sort = "") {
    refill(
      this.head,
      this.columns.map((column) => this.#header(column, sort)),
    );
    const rows = new Map();
    for (const item of items) {
      const key = this.rowKey(item);
      const row = this.rows.get(key) ?? h("tr", { role: "row" });
      refill(
        row,
        this.columns.map((column, index) => this.#cell(column, index, item)),
      );
      rows.set(key, row);
    }
    this.rows = rows;
    const wanted = [...rows.values()];
    const held = this.body.contains(document.activeElement) ? document.activeElement : null;
    const same =
      wanted.length === this.body.children.length &&
      wanted.every((row, index) => row === this.body.children[index]);
    if (!same) {
      this.body.replaceChildren(...wanted);
      if (held?.isConnected) held.focus({ preventScroll: true });
    }
    this.table.hidden = items.length === 0;
    this.nothing.hidden = items.length > 0;
  }

  #header(column, sort) {
    const attributes = { scope: "col", role: "columnheader", class: column.class };
    if (!column.key) return h("th", attributes, column.label);
    const ascending = sort === column.key;
    const descending = sort === `-${column.key}`;
    const first = `${column.first ?? ""}${column.key}`;
    const second = column.first ? column.key : `-${column.key}`;
    const next = sort === first ? second : first;
    if (ascending || descending) attributes["aria-sort"] = ascending ? "ascending" : "descending";
    return h(
      "th",
      attributes,
      h("a", { class: "sort", href: changed({ sort: next }) }, column.label),
    );
  }

  #cell(column, index, item) {
    const content = column.cell(item);
    return index === 0
      ? h("th", { scope: "row", role: "rowheader", class: column.class }, content)
      : h("td", { role: "cell", class: column.class, "data-label": column.label }, content);
  }

  /** Up, down, Home and End go from row to row; Tab leaves as everywhere. */
  #move(event) {
    const links = [...this.body.querySelectorAll("th[scope=row] a")];
    const at = links.findIndex((link) => link.closest("tr").contains(event.target));
    const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[
      event.key
    ];
    if (target === undefined || event.altKey || event.ctrlKey || event.metaKey || at < 0) return;
    event.preventDefault();
    links[Math.max(0, Math.min(links.length - 1, target))]?.focus();
  }
}
