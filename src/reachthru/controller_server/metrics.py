"""What Prometheus may ask of this process: counted here, described in metric_table.py."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from prometheus_client import generate_latest

from reachthru.controller_server import metric_table as table
from reachthru.controller_server.model import ms_since
from reachthru.controller_server.store.changes import changed_at
from reachthru.controller_server.store.deliveries import Outcome
from reachthru.controller_server.store.tables import DONE, FAILED, PENDING
from reachthru.protocol.agent_bus import FaultChange
from reachthru.telemetry.exposition import Families, family, new_registry
from reachthru.telemetry.metrics import Description, Kind, Tally, Values

# Of a host; guests come and go, and Prometheus keeps a series for each that it was told of.
LOSS_SENDERS_LIMIT = 20
OTHER_SENDERS = "others"
RETRIED = "retried"


class Metrics:
    """Counters of this process; gauges come with each `render`."""

    def __init__(self) -> None:
        self._process = new_registry()
        self._counts: dict[Description, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._tallies: dict[Description, defaultdict[tuple[str, ...], Tally]] = {
            described: defaultdict(Tally)
            for described in table.METRICS
            if described.kind is Kind.HISTOGRAM
        }
        self._group_losses: dict[str, Mapping[str, Mapping[str, int]]] = {}  # by host

    def expect_sink(self, sink: str) -> None:
        """It is told from now on."""
        for outcome in (DONE, FAILED, RETRIED):
            self.count(table.ATTEMPTS, sink, outcome, by=0)

    def count(self, described: Description, *labels: str, by: int = 1) -> None:
        self._counts[described][labels] += by

    def stored(self, changes: Iterable[FaultChange]) -> None:
        for change in changes:
            self.count(table.FAULT_CHANGES, change.kind, change.status)

    def committed(self, changes: Iterable[FaultChange], now: datetime) -> None:
        """By this controller, at `now` (UTC)."""
        tallies = self._tallies[table.FAULT_STAGE]
        for change in changes:
            stored_ms = ms_since(changed_at(change), now)
            for stage, ms in (("outbox", change.stages_ms.get("outbox")), ("stored", stored_ms)):
                if ms is not None:
                    tallies[stage,].add(max(0.0, ms / 1000))

    def attempted(self, outcome: Outcome) -> None:
        word = RETRIED if outcome.state == PENDING else outcome.state
        self.count(table.ATTEMPTS, outcome.sink, word)
        if outcome.done_ms is not None:
            self._tallies[table.LATENCY][outcome.sink,].add(max(0.0, outcome.done_ms / 1000))

    def api_refusal(self, reason: str) -> None:
        self.count(table.API_REFUSALS, reason)

    def forgotten(self, reason: str, faults: int) -> None:
        self.count(table.FORGOTTEN, reason, by=faults)

    def group_message(self, kind: str) -> None:
        self.count(table.GROUP_MESSAGES, kind)

    def group_refusal(self, reason: str) -> None:
        self.count(table.GROUP_REFUSALS, reason)

    def group_loss(self, reason: str, count: int = 1) -> None:
        self.count(table.GROUP_LOSSES, reason, by=count)

    def agent_group_losses(
        self, host: str, totals: Mapping[str, Mapping[str, int]], *, full: bool
    ) -> None:
        """`totals`: by sender, by reason; if not `full`, of some senders."""
        known = {} if full else self._group_losses.get(host, {})
        if totals or full:
            self._group_losses[host] = {**known, **totals}

    def render(self, gauges: Mapping[Description, Values]) -> bytes:
        """Prometheus text format 0.0.4. `gauges` are as of now; what it leaves out is unknown."""
        values: dict[Description, Values] = {
            **self._counts,
            **self._tallies,
            table.AGENT_GROUP_LOSSES: self._worst_group_losses(),
            **gauges,
        }
        families = [
            family(described, values.get(described, {}))
            for described in table.METRICS
            if described in values or described.labels
        ]
        return generate_latest(Families(families)) + generate_latest(self._process)

    def _worst_group_losses(self) -> dict[tuple[str, ...], int]:
        """Those who lost most are named, the rest is summed up."""
        counts: Counter[tuple[str, ...]] = Counter()
        for host, totals in self._group_losses.items():
            most = sorted(totals, key=lambda sender: -sum(totals[sender].values()))
            for rank, sender in enumerate(most):
                shown = sender if rank < LOSS_SENDERS_LIMIT else OTHER_SENDERS
                for reason, count in totals[sender].items():
                    counts[host, shown, reason] += count
        return dict(counts)
