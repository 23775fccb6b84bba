"""Every metric of the controller. docs/metrics.md is made of this: `tools/metrics-table`."""

from itertools import product

from reachthru.protocol.faults import FaultKind, FaultStatus
from reachthru.telemetry.metrics import counter, gauge, histogram

FAULT_CHANGES = counter(
    "reachthru_fault_changes_total",
    "Fault changes that were stored, by whichever controller: every one counts all",
    *("kind", "status"),
    zeros=product(FaultKind, FaultStatus),
)
ACTIVE_FAULTS = gauge("reachthru_active_faults", "Faults that are raised now", "kind")
FAULT_STAGE = histogram(
    "reachthru_fault_stage_seconds",
    "From detection to a stage: outbox (durable at the agent), stored (durable at this controller)",
    "stage",
)
ATTEMPTS = counter(
    "reachthru_delivery_attempts_total",
    "Attempts to tell a sink: done, failed for good, or retried",
    *("sink", "outcome"),
)
LATENCY = histogram(
    "reachthru_delivery_latency_seconds",
    "From detection, by the agent's wall clock, to the sink's yes",
    "sink",
)
BACKLOG = gauge(
    "reachthru_delivery_backlog_changes", "Fault changes that a sink still has to be told", "sink"
)
BACKLOG_OLDEST = gauge(
    "reachthru_delivery_backlog_oldest_seconds",
    "How long the oldest of them has been stored; 0 without any",
    "sink",
)
SUPPRESSED = counter(
    "reachthru_delivery_suppressed_changes_total",
    "Fault changes of which a sink was not told, because of a maintenance window",
    "sink",
)
RELEASED = counter(
    "reachthru_delivery_released_changes_total",
    "Those of them of which it is told after all: the fault outlasted its windows",
    "sink",
)
SINK_UP = gauge("reachthru_sink_up", "0 while a sink takes nothing and is only probed", "sink")
FORGOTTEN = counter(
    "reachthru_faults_forgotten_total",
    "Cleared faults that retention removed: for their age, their number, a full database",
    "reason",
    zeros=[("age",), ("excess",), ("full",)],
)
BUS_REFUSED = counter(
    "reachthru_bus_refused_messages_total", "Messages of agents that were skipped", "reason"
)
GROUP_MESSAGES = counter(
    "reachthru_group_messages_total",
    "Server-group messages that were routed",
    "kind",
    zeros=[("broadcast",), ("query",), ("notification",)],
)
GROUP_REFUSALS = counter(
    "reachthru_group_refusals_total", "Broadcasts that were refused; the guest was told", "reason"
)
GROUP_LOSSES = counter(
    "reachthru_group_losses_total",
    "Deliveries to one guest that this controller could not send",
    "reason",
    zeros=[("no_host",), ("host_offline",), ("bus",)],
)
AGENT_GROUP_LOSSES = gauge(
    "reachthru_group_agent_losses",
    "Group messages that a host agent dropped since its start; the 20 worst senders of a host"
    " are named, the others are summed up",
    *("host", "sender", "reason"),
)
API_REFUSALS = counter(
    "reachthru_api_refusals_total",
    "REST calls that were refused: token missing or wrong, forbidden, or not to be checked; with"
    " auth = none: under a name that is not ours (host), by another site's page (origin)",
    "reason",
    zeros=[
        *(("missing",), ("wrong",), ("forbidden",), ("unavailable",), ("tls",)),
        *(("host",), ("origin",)),
    ],
)
BUS_CONNECTED = gauge("reachthru_bus_connected", "Whether there is a broker: 1 or 0")
DATABASE_CONNECTED = gauge(
    "reachthru_database_connected", "Whether the database answers and takes writes: 1 or 0"
)
AGENTS_CONNECTED = gauge("reachthru_agents_connected", "Agents that are online")
GUESTS = gauge("reachthru_guests", "Guests on the hosts whose agents are online")
AGENTS_OUTBOX = gauge(
    "reachthru_agents_outbox_changes",
    "Fault changes that wait in all agents' outboxes, as they last reported",
)
AGENTS_OUTBOX_BROKEN = gauge(
    "reachthru_agents_outbox_broken",
    "Agents whose outbox can't be written: their faults are in memory only",
)
AGENTS_LATENESS = gauge(
    "reachthru_agents_lateness_worst_seconds",
    "How late the worst of all agents woke up in the time of its last report",
)
AGENTS_CLOCK = gauge(
    "reachthru_agents_clock_offset_worst_seconds",
    "The largest distance of an agent's clock from this controller's; a report's way is in it",
)
LEADER = gauge(
    "reachthru_controller_leader",
    "Whether this controller leads: 1 or 0; 0 everywhere means that nobody does",
)
HOSTS_LOST = gauge("reachthru_hosts_lost", "Hosts that are lost now")
CARRIER_SUSPECTED = gauge(
    "reachthru_carrier_suspected",
    "1 while more than half of the hosts are silent, and none is called lost for it",
)

METRICS = (
    *(FAULT_CHANGES, ACTIVE_FAULTS, FAULT_STAGE),
    *(ATTEMPTS, LATENCY, BACKLOG, BACKLOG_OLDEST, SUPPRESSED, RELEASED, SINK_UP, FORGOTTEN),
    *(BUS_CONNECTED, BUS_REFUSED, DATABASE_CONNECTED, LEADER, API_REFUSALS),
    *(AGENTS_CONNECTED, GUESTS, AGENTS_OUTBOX, AGENTS_OUTBOX_BROKEN),
    *(AGENTS_LATENESS, AGENTS_CLOCK, HOSTS_LOST, CARRIER_SUSPECTED),
    *(GROUP_MESSAGES, GROUP_REFUSALS, GROUP_LOSSES, AGENT_GROUP_LOSSES),
)
