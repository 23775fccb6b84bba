// The cloud at a glance: is something wrong, what, and where; the worst first.

import { get } from "../api.js";
import { bar, icon, panel } from "../badges.js";
import { h, refill } from "../dom.js";
import { count, plural, SEVERITIES, VERDICTS, words } from "../format.js";
import { href } from "../routes.js";
import { Table } from "../table.js";
import { FAULT, hostWords } from "./columns.js";

const FAULTS_SHOWN = 12;
const LATELY_SHOWN = 6;
const HOSTS_SHOWN = 48;

export class Overview {
  constructor() {
    this.title = "Overview";
    this.verdict = h("h1", { tabindex: "-1" }, "The cloud");
    this.tiles = h("div", { class: "tiles" });
    this.open = new Table({
      caption: "Open faults, the worst first",
      columns: [FAULT.what, FAULT.severity, FAULT.where, FAULT.raised, FAULT.told],
      rowKey: (fault) => fault.id,
      empty: "No open fault.",
    });
    this.lately = new Table({
      caption: "Faults that were cleared lately",
      columns: [FAULT.what, FAULT.where, FAULT.raised, FAULT.lasted],
      rowKey: (fault) => fault.id,
      empty: "None yet.",
    });
    this.more = h("span", {});
    this.hosts = h("div", {});
    this.element = h(
      "div",
      { class: "overview" },
      this.verdict,
      this.tiles,
      h(
        "div",
        { class: "columns" },
        h(
          "div",
          {},
          panel("Open faults", { class: "flush", extra: this.more }, this.open.element),
          panel("Cleared lately", { class: "flush" }, this.lately.element),
        ),
        panel("Hosts", { extra: h("a", { href: href("hosts") }, "All hosts") }, this.hosts),
      ),
    );
  }

  async refresh() {
    const [summary, open, lately, hosts] = await Promise.all([
      get("/summary"),
      get("/faults", { active: true, worst_first: true, limit: FAULTS_SHOWN }),
      get("/faults", { active: false, limit: LATELY_SHOWN }),
      get("/hosts", { sort: "worst", limit: HOSTS_SHOWN }),
    ]);
    refill(this.verdict, ...sentence(summary));
    refill(
      this.tiles,
      faultTile(summary),
      ...["instances", "hosts", "groups"].map((kind) => tile(kind, summary)),
    );
    this.open.update(open.faults);
    this.lately.update(lately.faults);
    const total = sum(summary.faults);
    refill(
      this.more,
      total > open.faults.length
        ? h("a", { href: href("faults", "", { active: "true" }) }, `All ${count(total)}`)
        : null,
    );
    refill(this.hosts, hostCells(hosts.hosts), rest(hosts));
  }
}

const sum = (counts) => Object.values(counts).reduce((total, value) => total + value, 0);

function sentence({ instances, hosts, faults }) {
  const ill = [];
  if (hosts.failing) ill.push(`${plural(hosts.failing, "host")} lost`);
  if (instances.failing) ill.push(`${plural(instances.failing, "guest")} failing`);
  if (instances.unwell) ill.push(`${plural(instances.unwell, "guest")} unwell`);
  if (ill.length)
    return [icon(hosts.failing || instances.failing ? "failing" : "unwell"), ill.join(", ")];
  if (sum(faults)) return [icon("unwell"), plural(sum(faults), "open fault")];
  if (!sum(instances)) return [icon("unwatched"), "No host agent has reported a guest yet"];
  if (instances.unknown)
    return [icon("unknown"), `${plural(instances.unknown, "guest")} out of sight`];
  return [
    icon("well"),
    sum(instances) === 1 ? "The guest is well" : `All ${count(sum(instances))} guests are well`,
  ];
}

function faultTile({ faults }) {
  const total = sum(faults);
  const known = SEVERITIES.filter((severity) => faults[severity]);
  return h(
    "section",
    { class: "tile", "aria-label": "Open faults" },
    h(
      "a",
      { class: "figure", href: href("faults", "", { active: "true" }) },
      h("span", { class: "big" }, count(total)),
      total === 1 ? " open fault" : " open faults",
    ),
    bar({
      failing: faults.critical,
      unwell: (faults.major ?? 0) + (faults.minor ?? 0),
      unknown: faults.warning,
    }),
    h(
      "ul",
      { class: "legend" },
      known.length
        ? known.map((severity) =>
            h(
              "li",
              {},
              h(
                "span",
                {},
                icon({ critical: "failing", warning: "unknown" }[severity] ?? "unwell"),
                `${count(faults[severity])} ${severity}`,
              ),
            ),
          )
        : h("li", { class: "muted" }, "nothing is wrong"),
    ),
  );
}

const NOUNS = {
  instances: ["guest", "guests"],
  hosts: ["host", "hosts"],
  groups: ["group", "groups"],
};

function tile(kind, summary) {
  const counts = summary[kind];
  const [noun, route] = NOUNS[kind];
  const total = sum(counts);
  const known = Object.keys(VERDICTS).filter((verdict) => counts[verdict]);
  const stale = kind === "groups" && summary.groups_stale;
  return h(
    "section",
    { class: "tile", "aria-label": words(route) },
    h(
      "a",
      { class: "figure", href: href(route) },
      h("span", { class: "big" }, count(total)),
      ` ${total === 1 ? noun : route}`,
    ),
    bar(counts),
    h(
      "ul",
      { class: "legend" },
      known.map((verdict) =>
        h(
          "li",
          {},
          h(
            "a",
            { href: href(route, "", { verdict }) },
            icon(verdict),
            `${count(counts[verdict])} ${VERDICTS[verdict].toLowerCase()}`,
          ),
        ),
      ),
      stale ? h("li", { class: "muted" }, "their source is out of reach") : null,
      total ? null : h("li", { class: "muted" }, "none yet"),
    ),
  );
}

function hostCells(hosts) {
  if (!hosts.length) return h("p", { class: "empty" }, "No host yet.");
  return h(
    "ul",
    { class: "cells" },
    hosts.map((host) =>
      h(
        "li",
        { class: host.verdict },
        h(
          "a",
          { href: href("hosts", host.host), title: hostWords(host) || null },
          h(
            "span",
            { class: "cell-name" },
            host.verdict === "well" ? null : icon(host.verdict),
            host.host,
          ),
          h("span", { class: "hidden" }, ` ${VERDICTS[host.verdict] ?? host.verdict}, `),
          h(
            "span",
            { class: "cell-count" },
            count(host.guests),
            h("span", { class: "hidden" }, " guests"),
          ),
          bar(host.verdicts),
        ),
      ),
    ),
  );
}

const rest = ({ hosts, total }) =>
  total > hosts.length
    ? h(
        "p",
        { class: "more" },
        h("a", { href: href("hosts") }, `and ${count(total - hosts.length)} more`),
      )
    : null;
