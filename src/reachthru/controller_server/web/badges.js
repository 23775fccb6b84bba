// Small parts of every view: how something is (shape, word and colour), times, bars, pages.

import { h, svg } from "./dom.js";
import { count, exact, relative, VERDICTS, words } from "./format.js";
import { changed, href } from "./routes.js";

// Each a shape of its own: colour is never the only sign.
const SHAPES = {
  failing: "M8 1.2 14.8 8 8 14.8 1.2 8zM8 5v3.4m0 2.3v.2",
  unwell: "M8 2 15 14H1zM8 6.5v3.5m0 1.8v.4",
  unknown: "M8 1.5a6.5 6.5 0 1 0 .01 0M6 6.2a2 2 0 1 1 2.6 2.2c-.5.2-.6.6-.6 1.1m0 2v.3",
  unwatched: "M2 8s2.2-4 6-4 6 4 6 4-2.2 4-6 4-6-4-6-4zM2.5 13.5l11-11",
  excused: "M8 1.5a6.5 6.5 0 1 0 .01 0M6.3 5.5v5m3.4-5v5",
  well: "M8 1.5a6.5 6.5 0 1 0 .01 0M5 8.2l2.2 2.2L11 6.2",
};
const SEVERITY_LOOK = { critical: "failing", major: "unwell", minor: "unwell", warning: "unknown" };

export function icon(look) {
  return svg(
    "svg",
    {
      class: `icon ${look in SHAPES ? look : "unknown"}`,
      viewBox: "0 0 16 16",
      "aria-hidden": "true",
      focusable: "false",
    },
    svg("path", { d: SHAPES[look] ?? SHAPES.unknown }),
  );
}

const badge = (look, text) => h("span", { class: `badge ${look}` }, icon(look), text);

export const verdictBadge = (verdict) =>
  badge(verdict in VERDICTS ? verdict : "unknown", VERDICTS[verdict] ?? words(verdict));

export const severityBadge = (severity) =>
  badge(SEVERITY_LOOK[severity] ?? "unknown", words(severity));

export function statusBadge(status) {
  return status === "raised" ? badge("failing", "Open") : badge("well", "Cleared");
}

const DELIVERY_LOOK = { done: "well", pending: "excused", failed: "failing", suppressed: "excused" };
export function deliveryBadge(delivery) {
  const retries = delivery.state === "pending" && delivery.last_error;
  const look = retries ? "unwell" : (DELIVERY_LOOK[delivery.state] ?? "unknown");
  const text = {
    done: "Told",
    pending: retries ? "Trying again" : "On its way",
    failed: "Refused",
    suppressed: "In maintenance",
  };
  return badge(look, text[delivery.state] ?? words(delivery.state));
}

/** A moment: how long ago, and exactly on hover, or while its row has the focus. */
export function time(iso) {
  if (!iso) return h("span", { class: "muted" }, "never");
  return h("time", { datetime: iso, "data-exact": exact(iso) }, relative(iso));
}

/** A moment in full, for where there is room. */
export const fullTime = (iso) => [
  h("time", { datetime: iso, class: "plain" }, relative(iso)),
  " ",
  h("span", { class: "muted exact" }, exact(iso)),
];

export function refreshTimes(root) {
  for (const item of root.querySelectorAll("time")) {
    const text = relative(item.getAttribute("datetime"));
    if (item.textContent !== text) item.textContent = text;
  }
}

/** How many are how, as one bar; the words beside it say the same. */
export function bar(counts) {
  const box = h("div", { class: "bar", "aria-hidden": "true" });
  for (const verdict of Object.keys(VERDICTS)) {
    if (!counts[verdict]) continue;
    const part = h("span", { class: `fill ${verdict}` });
    part.style.flexGrow = counts[verdict];
    box.append(part);
  }
  return box;
}

/** Links that show only what is so: All 10,000, Failing 3, ... */
export function filters(label, counts, current) {
  const all = Object.values(counts).reduce((sum, value) => sum + value, 0);
  const one = (value, text, number) =>
    h(
      "li",
      {},
      h(
        "a",
        {
          class: "chip",
          href: changed({ verdict: value }),
          "aria-current": value === current ? "true" : null,
        },
        value && icon(value),
        text,
        h("span", { class: "number" }, count(number)),
      ),
    );
  return h(
    "ul",
    { class: "chips", "aria-label": label },
    one("", "All", all),
    Object.keys(VERDICTS)
      .filter((verdict) => counts[verdict] || verdict === current)
      .map((verdict) => one(verdict, VERDICTS[verdict], counts[verdict] ?? 0)),
  );
}

/** "1-100 of 10,000", and the ways to the others. */
export function pager(offset, limit, shown, total) {
  if (total <= limit && offset === 0) return null;
  const link = (text, target) =>
    target === null
      ? h("span", { class: "button off" }, text)
      : h("a", { class: "button", href: changed({ offset: target || "" }) }, text);
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    link("Previous", offset > 0 ? Math.max(0, offset - limit) : null),
    h("span", {}, `${count(shown ? offset + 1 : 0)}–${count(offset + shown)} of ${count(total)}`),
    link("Next", offset + shown < total ? offset + limit : null),
  );
}

export const guestLink = (uuid, name) =>
  h("a", { href: href("guests", uuid), class: "name" }, name || uuid);
export const hostLink = (host) => h("a", { href: href("hosts", host), class: "name" }, host);
export const groupLink = (id, name) =>
  h("a", { href: href("groups", id), class: "name" }, name || id);

/** A list of facts: [["Host", node], ...]; a fact that is null is left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { class: "facts" },
    known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

export function panel(title, attributes, ...content) {
  const { extra, ...rest } = attributes;
  return h(
    "section",
    { ...rest, class: `panel ${rest.class ?? ""}` },
    h("div", { class: "panel-head" }, h("h2", {}, title), extra),
    content,
  );
}
