"""What Prometheus may ask."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reachthru import __version__
from reachthru.controller_server.store.deliveries import Backlog, Outcome
from reachthru.controller_server.store.tables import PENDING
from reachthru.protocol.agent_bus import FaultChange

# Around Doctor's limit of one second from detection to consumer.
# Of a host; guests come and go, and Prometheus keeps a series for each that it was told of.
LOSS_SENDERS_LIMIT = 20
OTHER_SENDERS = "others"
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """Counters of this process; gauges are set when they are asked for."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        build = Gauge("reachthru_build_info", "The version", ["version"], registry=registry)
        build.labels(__version__).set(1)
        self._changes = Counter(
            "reachthru_fault_changes_total",
            "Fault changes that were stored, by whichever controller",
            ["kind", "status"],
            registry=registry,
        )
        self._attempts = Counter(
            "reachthru_delivery_attempts_total",
            "Attempts to tell a sink: done, failed for good, or retried",
            ["sink", "outcome"],
            registry=registry,
        )
        self._latency_s = Histogram(
            "reachthru_delivery_latency_seconds",
            "From detection, by the agent's wall clock, to the sink's yes",
            ["sink"],
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self._backlog = Gauge(
            "reachthru_delivery_backlog_changes",
            "Fault changes that a sink still has to be told",
            ["sink"],
            registry=registry,
        )
        self._oldest_s = Gauge(
            "reachthru_delivery_backlog_oldest_seconds",
            "How long the oldest of them has been stored; 0 without any",
            ["sink"],
            registry=registry,
        )
        self._forgotten = Counter(
            "reachthru_faults_forgotten_total",
            "Cleared faults that retention removed: for their age, their number, a full database",
            ["reason"],
            registry=registry,
        )
        self._refused = Gauge(
            "reachthru_bus_refused_messages",
            "Messages of agents that were skipped since the start",
            ["reason"],
            registry=registry,
        )
        self._group_messages = Counter(
            "reachthru_group_messages_total",
            "Server-group messages that were routed",
            ["kind"],
            registry=registry,
        )
        self._group_refusals = Counter(
            "reachthru_group_refusals_total",
            "Broadcasts that were refused; the guest was told",
            ["reason"],
            registry=registry,
        )
        self._group_losses = Counter(
            "reachthru_group_losses_total",
            "Deliveries to one guest that this controller could not send",
            ["reason"],
            registry=registry,
        )
        self._agent_group_losses = Gauge(
            "reachthru_group_agent_losses",
            "Group messages that a host agent dropped since its start",
            ["host", "sender", "reason"],
            registry=registry,
        )
        self._losses: dict[str, Mapping[str, Mapping[str, int]]] = {}  # by host
        self._loss_labels: dict[str, set[tuple[str, str]]] = {}  # (sender, reason) by host
        self._api_refusals = Counter(
            "reachthru_api_refusals_total",
            "REST calls that were refused: token missing or wrong, forbidden, or not to be checked",
            ["reason"],
            registry=registry,
        )
        self._bus = Gauge(
            "reachthru_bus_connected", "Whether there is a broker: 1 or 0", registry=registry
        )
        self._agents = Gauge(
            "reachthru_agents_connected", "Agents that are online", registry=registry
        )
        self._leader = Gauge(
            "reachthru_controller_leader",
            "Whether this controller leads: 1 or 0; 0 everywhere means that nobody does",
            registry=registry,
        )
        self._hosts_lost = Gauge(
            "reachthru_hosts_lost", "Hosts that are lost now", registry=registry
        )
        self._suspected = Gauge(
            "reachthru_carrier_suspected",
            "1 while more than half of the hosts are silent, and none is called lost for it",
            registry=registry,
        )

    def stored(self, changes: Iterable[FaultChange]) -> None:
        for change in changes:
            self._changes.labels(change.kind, change.status).inc()

    def attempted(self, outcome: Outcome) -> None:
        word = "retried" if outcome.state == PENDING else outcome.state
        self._attempts.labels(outcome.sink, word).inc()
        if outcome.done_ms is not None:
            self._latency_s.labels(outcome.sink).observe(max(0.0, outcome.done_ms / 1000))

    def api_refusal(self, reason: str) -> None:
        self._api_refusals.labels(reason).inc()

    def forgotten(self, reason: str, faults: int) -> None:
        self._forgotten.labels(reason).inc(faults)

    def group_message(self, kind: str) -> None:
        self._group_messages.labels(kind).inc()

    def group_refusal(self, reason: str) -> None:
        self._group_refusals.labels(reason).inc()

    def group_loss(self, reason: str, count: int = 1) -> None:
        self._group_losses.labels(reason).inc(count)

    def agent_group_losses(
        self, host: str, totals: Mapping[str, Mapping[str, int]], *, full: bool
    ) -> None:
        """`totals`: by sender, by reason; if not `full`, of some senders.

        Those who lost most are named, the rest is summed up.
        """
        known = self._losses[host] = {**({} if full else self._losses.get(host, {})), **totals}
        most = sorted(known, key=lambda sender: -sum(known[sender].values()))
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for rank, sender in enumerate(most):
            shown = sender if rank < LOSS_SENDERS_LIMIT else OTHER_SENDERS
            for reason, count in known[sender].items():
                counts[shown, reason] += count
        for label in self._loss_labels.get(host, set()) - counts.keys():
            self._agent_group_losses.remove(host, *label)
        self._loss_labels[host] = set(counts)
        for label, count in counts.items():
            self._agent_group_losses.labels(host, *label).set(count)

    def render(
        self,
        *,
        backlog: Mapping[str, Backlog],
        refused: Mapping[str, int],
        agents: int,
        bus_connected: bool,
        leads: bool,
        hosts_lost: int,
        carrier_suspected: bool,
    ) -> bytes:
        """Prometheus text format 0.0.4."""
        for sink, waiting in backlog.items():
            self._backlog.labels(sink).set(waiting.changes)
            self._oldest_s.labels(sink).set(round(waiting.oldest_s, 3))
        for reason, count in refused.items():
            self._refused.labels(reason).set(count)
        self._agents.set(agents)
        self._bus.set(1 if bus_connected else 0)
        self._leader.set(1 if leads else 0)
        self._hosts_lost.set(hosts_lost)
        self._suspected.set(1 if carrier_suspected else 0)
        return generate_latest(self._registry)
