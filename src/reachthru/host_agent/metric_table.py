"""Every metric of the host agent. docs/metrics.md is made of this: `tools/metrics-table`."""

from reachthru.telemetry.metrics import counter, gauge, histogram

# A wake-up's lateness: from what a busy machine always has to what makes the detector the sick one.
LATENESS_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)

GUESTS = gauge(
    "reachthru_agent_guests", "Instances of this host, by what the hypervisor says", "condition"
)
REGISTERED = gauge("reachthru_agent_registered_guests", "Guests that have a session")
UNHEALTHY = gauge(
    "reachthru_agent_unhealthy_guests", "Guests whose last word was that they are unhealthy"
)
ACTIVE_FAULTS = gauge("reachthru_agent_active_faults", "Faults that are raised now", "kind")
FAULT_CHANGES = counter(
    "reachthru_agent_fault_changes_total",
    "Faults that this agent raised and cleared",
    *("kind", "status"),
)
HEARTBEATS = counter(
    "reachthru_agent_heartbeats_total",
    "Challenges and answers: answered in time, missed, late, wrong, ignored (out of place)",
    "outcome",
)
ROUND_TRIP = histogram(
    "reachthru_agent_heartbeat_round_trip_seconds",
    "Challenge to answer, in steps of 10 ms: the latest of each guest, sampled at each scrape",
)
LATENESS = histogram(
    "reachthru_agent_lateness_seconds",
    "How late this agent woke up for its ticks",
    buckets=LATENESS_BUCKETS_S,
)
LOST_TIME = counter(
    "reachthru_agent_lost_time_seconds_total",
    "Time in which this agent was stopped or starved, and which its guests got back",
)
OUTBOX = gauge("reachthru_agent_outbox_changes", "Fault changes that no controller acknowledged")
OUTBOX_OLDEST = gauge(
    "reachthru_agent_outbox_oldest_seconds", "How old the oldest of them is; 0 without any"
)
OUTBOX_DURABLE = gauge(
    "reachthru_agent_outbox_durable", "0 while the outbox can't be written: faults are in memory"
)
OUTBOX_DROPPED = counter(
    "reachthru_agent_outbox_dropped_changes_total",
    "Changes of faults that were over, dropped since the outbox was full",
)
BUS_CONNECTED = gauge("reachthru_agent_bus_connected", "Whether there is a broker: 1 or 0")
BUS_CONNECTIONS = counter(
    "reachthru_agent_bus_connections_total", "Connections to the broker that were made"
)
BUS_REFUSED = counter(
    "reachthru_agent_bus_refused_messages_total", "Messages that were skipped", "reason"
)
DISCOVERY_CONNECTED = gauge(
    "reachthru_agent_discovery_connected",
    "Whether what knows the instances (libvirt, or the directory) answers: 1 or 0",
)
PORTS = gauge(
    "reachthru_agent_ports", "Guests' ports, by whether their socket is connected", "connected"
)
GUEST_ERRORS = counter(
    "reachthru_agent_guest_errors_total",
    "Messages of guests that were refused",
    "reason",
    zeros=[("not_json",), ("bad_envelope",), ("bad_message",), ("out_of_place",), ("flood",)],
)
GUEST_DROPPED = counter(
    "reachthru_agent_guest_dropped_lines_total",
    "Lines of guests that send more than their share, dropped unread",
)
GUEST_UNSENT = counter(
    "reachthru_agent_guest_unsent_messages_total",
    "Messages that a guest did not take: it does not read its port",
)
GROUP_LOSSES = counter(
    "reachthru_agent_group_losses_total",
    "Server-group messages that were dropped here",
    "reason",
    zeros=[("rate",), ("flood",), ("absent",), ("stale",), ("overflow",)],
)

METRICS = (
    *(GUESTS, REGISTERED, UNHEALTHY, PORTS, DISCOVERY_CONNECTED),
    *(ACTIVE_FAULTS, FAULT_CHANGES, HEARTBEATS, ROUND_TRIP, LATENESS, LOST_TIME),
    *(OUTBOX, OUTBOX_OLDEST, OUTBOX_DURABLE, OUTBOX_DROPPED),
    *(BUS_CONNECTED, BUS_CONNECTIONS, BUS_REFUSED),
    *(GUEST_ERRORS, GUEST_DROPPED, GUEST_UNSENT, GROUP_LOSSES),
)
