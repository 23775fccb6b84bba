// One server group: its members, how they are, and whether they share a host.

import { get } from "../api.js";
import { bar, facts, panel, verdictBadge } from "../badges.js";
import { h, refill } from "../dom.js";
import { plural } from "../format.js";
import { Table } from "../table.js";
import { MEMBER, memberCounts, memberVerdict } from "./columns.js";

const ORDER = ["failing", "unwell", "unknown", "unwatched", "excused", "well"];

export class Group {
  constructor(id) {
    this.id = id;
    this.title = id;
    this.heading = h("h1", { tabindex: "-1" }, id);
    this.badge = h("div", {});
    this.facts = h("div", {});
    this.members = new Table({
      caption: "Members of this group, the worst first",
      columns: [MEMBER.name, MEMBER.verdict, MEMBER.told, MEMBER.host],
      rowKey: (member) => member.uuid,
      empty: "It has no member.",
    });
    this.element = h(
      "div",
      {},
      h("p", { class: "kind" }, "Group"),
      h("div", { class: "head" }, this.heading, this.badge),
      panel("Facts", {}, this.facts),
      panel("Members", { class: "flush" }, this.members.element),
    );
  }

  async refresh() {
    const { groups } = await get(`/groups/${encodeURIComponent(this.id)}`);
    const [group] = groups;
    this.title = group.name;
    refill(this.heading, group.name);
    refill(this.badge, verdictBadge(group.verdict));
    const hosts = new Set(group.members.map((member) => member.host).filter(Boolean));
    refill(
      this.facts,
      facts([
        ["Id", group.id === group.name ? null : h("span", { class: "mono" }, group.id)],
        [
          "Members",
          [
            `${plural(group.members.length, "member")} on ${plural(hosts.size, "host")} `,
            bar(memberCounts(group)),
          ],
        ],
      ]),
    );
    const rank = (member) => ORDER.indexOf(memberVerdict(member));
    this.members.update(
      [...group.members].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name)),
    );
  }
}
