"""What Prometheus may ask of this agent: read from the running parts when it asks."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from prometheus_client.core import Metric

from reachthru.bus.base import AgentBus
from reachthru.host_agent import metric_table as table
from reachthru.host_agent.discovery.base import Discovery
from reachthru.host_agent.group_losses import GroupLosses
from reachthru.host_agent.guest_totals import Sums
from reachthru.host_agent.lateness import AwakeTime
from reachthru.host_agent.ledger import Ledger
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.roster import Roster
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import Condition, FaultKind, FaultStatus
from reachthru.telemetry.exposition import family
from reachthru.telemetry.metrics import Description, Values


class AgentMetrics:
    """`families` is to be awaited on the event loop."""

    def __init__(
        self,
        *,
        roster: Roster,
        ledger: Ledger,
        outbox: Outbox,
        awake: AwakeTime,
        bus: AgentBus,
        discovery: Discovery,
        group_losses: GroupLosses,
        bus_connections: Callable[[], int],
    ) -> None:
        self._roster = roster
        self._ledger = ledger
        self._outbox = outbox
        self._awake = awake
        self._bus = bus
        self._discovery = discovery
        self._group_losses = group_losses
        self._bus_connections = bus_connections

    async def families(self) -> list[Metric]:
        totals = self._roster.totals
        sums = await totals.take(self._roster.instances.values())
        values: Mapping[Description, Values] = {
            **_of_guests(sums),
            **self._of_faults(),
            **self._of_outbox(),
            table.ROUND_TRIP: totals.round_trips,
            table.LATENESS: self._awake.lateness,
            table.LOST_TIME: self._awake.lost_s,
            table.BUS_CONNECTED: self._bus.connected,
            table.BUS_CONNECTIONS: self._bus_connections(),
            table.BUS_REFUSED: {(reason,): n for reason, n in self._bus.refused.items()},
            table.DISCOVERY_CONNECTED: self._discovery.answers,
            table.GROUP_LOSSES: {
                (reason,): n for reason, n in self._group_losses.by_reason().items()
            },
        }
        return [family(described, values[described]) for described in table.METRICS]

    def _of_faults(self) -> Mapping[Description, Values]:
        kinds = Counter(change.kind for change in self._outbox.active.values())
        return {
            table.ACTIVE_FAULTS: {(kind.value,): kinds[kind] for kind in _KINDS},
            table.FAULT_CHANGES: {
                (kind.value, status.value): self._ledger.changes[kind, status]
                for kind in _KINDS
                for status in FaultStatus
            },
        }

    def _of_outbox(self) -> Mapping[Description, Values]:
        oldest = self._outbox.oldest
        return {
            table.OUTBOX: self._outbox.waiting,
            table.OUTBOX_OLDEST: 0.0 if oldest is None else _age_s(oldest),
            table.OUTBOX_DURABLE: self._outbox.durable,
            table.OUTBOX_DROPPED: self._outbox.dropped,
        }


_KINDS = tuple(kind for kind in FaultKind if kind is not FaultKind.HOST_LOST)  # no agent says so


def _of_guests(sums: Sums) -> Mapping[Description, Values]:
    return {
        table.GUESTS: {(one.value,): sums.conditions[one] for one in Condition},
        table.REGISTERED: sums.registered,
        table.UNHEALTHY: sums.unhealthy,
        table.PORTS: {("true",): sums.ports[True], ("false",): sums.ports[False]},
        table.HEARTBEATS: {(outcome,): n for outcome, n in sums.heartbeats.items()},
        table.GUEST_ERRORS: {(reason,): n for reason, n in sums.errors.items()},
        table.GUEST_DROPPED: sums.dropped_lines,
        table.GUEST_UNSENT: sums.unsent_messages,
    }


def _age_s(change: FaultChange) -> float:
    moment = datetime.fromisoformat(change.cleared_at or change.raised_at)
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())
