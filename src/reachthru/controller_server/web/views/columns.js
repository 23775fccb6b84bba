// What each list says of one fault, guest, host or member.

import {
  bar,
  deliveryBadge,
  guestLink,
  groupLink,
  hostLink,
  severityBadge,
  statusBadge,
  time,
  verdictBadge,
} from "../badges.js";
import { h } from "../dom.js";
import {
  count,
  exact,
  interval,
  lasting,
  milliseconds,
  plural,
  VERDICTS,
  words,
} from "../format.js";
import { href } from "../routes.js";

const muted = (text) => h("span", { class: "muted" }, text);

const faultName = (fault) => [
  h("a", { href: href("faults", fault.id), class: "name" }, words(fault.kind)),
  fault.correlated_to ? muted(" (its host is lost)") : null,
  h("span", { class: "below muted" }, fault.detail),
];

const faultWhere = (fault) => [
  fault.instance_uuid ? guestLink(fault.instance_uuid, fault.instance_name) : hostLink(fault.host),
  fault.instance_uuid ? h("span", { class: "below" }, hostLink(fault.host)) : null,
];

function told(fault) {
  const open = fault.deliveries.filter((delivery) => delivery.state !== "done");
  if (!fault.deliveries.length) return muted("no sinks");
  if (!open.length) return muted(`all ${fault.deliveries.length}`);
  if (fault.maintenance) return deliveryBadge(open[0]);
  return h(
    "span",
    { class: "stack" },
    open.map((delivery) => h("span", {}, deliveryBadge(delivery), ` ${delivery.sink}`)),
  );
}

export const FAULT = {
  what: { label: "Fault", cell: faultName },
  severity: { label: "Severity", cell: (fault) => severityBadge(fault.severity) },
  status: { label: "Status", cell: (fault) => statusBadge(fault.status) },
  where: { label: "Where", class: "where", cell: faultWhere },
  raised: { label: "Raised", cell: (fault) => time(fault.raised_at) },
  lasted: {
    label: "Lasted",
    class: "number wide",
    cell: (fault) =>
      h(
        "span",
        {
          title: `${exact(fault.raised_at)} to ${fault.cleared_at ? exact(fault.cleared_at) : "now"}`,
        },
        lasting(fault.raised_at, fault.cleared_at),
      ),
  },
  told: { label: "Told", class: "wide", cell: told },
};

function guestState(guest) {
  const said = guest.faults.map(words);
  const hypervisor = guest.state === "running" ? "" : words(guest.state);
  const health =
    guest.health && guest.health !== "healthy" ? guest.health_detail || "Unhealthy" : "";
  const parts = [...said, hypervisor, health, guest.note].filter(Boolean);
  return [
    verdictBadge(guest.verdict),
    parts.length ? h("span", { class: "below muted" }, [...new Set(parts)].join("; ")) : null,
  ];
}

export const GUEST = {
  name: { label: "Guest", key: "name", cell: (guest) => guestLink(guest.uuid, guest.name) },
  verdict: { label: "State", key: "worst", cell: guestState },
  uuid: { label: "UUID", class: "wide mono muted", cell: (guest) => guest.uuid },
  host: { label: "Host", key: "host", class: "mid", cell: (guest) => hostLink(guest.host) },
  interval: {
    label: "Interval",
    class: "number wide",
    cell: (guest) => (guest.interval_ms === null ? muted("–") : interval(guest.interval_ms)),
  },
  roundTrip: {
    label: "Round trip",
    class: "number wide",
    cell: (guest) =>
      guest.round_trip_ms === null ? muted("–") : milliseconds(guest.round_trip_ms),
  },
  seen: {
    label: "Last answer",
    key: "last_seen",
    first: "-",
    class: "number",
    cell: (guest) => time(guest.last_seen_at),
  },
};

export const HOST = {
  name: { label: "Host", key: "name", cell: (host) => hostLink(host.host) },
  verdict: {
    label: "State",
    key: "worst",
    cell: (host) => [
      verdictBadge(host.verdict),
      h("span", { class: "below muted" }, hostWords(host)),
    ],
  },
  guests: {
    label: "Guests",
    key: "guests",
    first: "-",
    class: "number",
    cell: (host) => count(host.guests),
  },
  how: { label: "How they are", class: "mid", cell: (host) => bar(host.verdicts) },
  lateness: {
    label: "Agent late by",
    key: "lateness",
    first: "-",
    class: "number wide",
    cell: (host) => milliseconds(host.lateness_ms),
  },
  waiting: { label: "Unsent", class: "number wide", cell: (host) => count(host.waiting) },
  version: { label: "Agent", class: "wide", cell: (host) => host.agent_version },
};

/** What is to be known of a host besides its word. */
export function hostWords(host) {
  const parts = [];
  if (host.verdict === "failing") parts.push("Lost: its agent is silent");
  else if (host.state !== "online") parts.push("Its agent is away");
  if (!host.outbox_durable) parts.push("Its outbox can't be written");
  const ill = ["failing", "unwell"].filter((verdict) => host.verdicts[verdict]);
  for (const verdict of ill)
    parts.push(`${plural(host.verdicts[verdict], "guest")} ${VERDICTS[verdict].toLowerCase()}`);
  return parts.join("; ");
}

/** A member whom no agent knows has Nova's word only. */
export const memberVerdict = (member) =>
  member.verdict ?? (member.state === "error" ? "failing" : "excused");

export function memberCounts(group) {
  const counts = {};
  for (const member of group.members) {
    const verdict = memberVerdict(member);
    counts[verdict] = (counts[verdict] ?? 0) + 1;
  }
  return counts;
}

export const GROUP = {
  name: {
    label: "Group",
    key: "name",
    cell: (group) => [
      groupLink(group.id, group.name),
      group.id === group.name ? null : h("span", { class: "below muted mono" }, group.id),
    ],
  },
  verdict: { label: "Worst member", key: "worst", cell: (group) => verdictBadge(group.verdict) },
  members: {
    label: "Members",
    key: "members",
    first: "-",
    class: "number",
    cell: (group) => count(group.members.length),
  },
  how: { label: "How they are", class: "mid", cell: (group) => bar(memberCounts(group)) },
};

export const MEMBER = {
  name: {
    label: "Member",
    cell: (member) => [
      guestLink(member.uuid, member.display_name ?? member.name),
      h("span", { class: "below muted mono" }, member.uuid),
    ],
  },
  verdict: { label: "State", cell: (member) => verdictBadge(memberVerdict(member)) },
  told: { label: "What its peers are told", class: "mid", cell: (member) => words(member.state) },
  host: {
    label: "Host",
    cell: (member) => (member.host ? hostLink(member.host) : muted("nowhere")),
  },
};
