"""A fault's way through this controller: a line in the log for each stage, and a span where there
are traces. Every line names the fault's id, which its host agent's lines name as well."""

import logging
from collections.abc import Iterable

from reachthru.controller_server.model import utc
from reachthru.controller_server.store.changes import Arrived, Stored, changed_at
from reachthru.controller_server.store.deliveries import Outcome
from reachthru.controller_server.store.queries import Pending
from reachthru.controller_server.store.tables import DONE
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultKind
from reachthru.telemetry.logs import about
from reachthru.telemetry.traces import Stage, Tracer, attributes_of_bus, now_ns, ns_of

_log = logging.getLogger("reachthru.faults.way")


class Trail:
    """`tracer` is None where nobody asked for traces."""

    def __init__(
        self, tracer: Tracer | None = None, bus_url: str = "", database_url: str = ""
    ) -> None:
        self._tracer = tracer
        backend = database_url.partition(":")[0].partition("+")[0]
        self._store_attributes = {
            **attributes_of_bus(bus_url, "process"),
            "db.system.name": backend,
        }

    def received(self, change: FaultChange) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "fault %s: %s: received from host %s",
                *(change.fault_id, change.status, change.host),
                extra=about(change.fault_id),
            )

    def stored(self, batch: Iterable[Arrived], stored: Iterable[Stored]) -> None:
        """Of what came in `batch`, these were new."""
        speaks = _log.isEnabledFor(logging.DEBUG)
        if not speaks and self._tracer is None:
            return
        arrived_at = {(item.change.fault_id, item.change.status): item.at for item in batch}
        for change in (item.change for item in stored):
            if speaks:
                _log.debug(
                    "fault %s: %s: stored",
                    *(change.fault_id, change.status),
                    extra=about(change.fault_id),
                )
            moment = arrived_at.get((change.fault_id, change.status))
            if self._tracer is not None and moment is not None:
                stage = Stage(
                    name="process faults",
                    began_ns=ns_of(moment),
                    ended_ns=now_ns(),
                    kind="CONSUMER",
                    attributes=self._store_attributes,
                )
                self._tracer.stage(change.fault_id, change, stage)

    def judged(self, changes: Iterable[FaultChange]) -> None:
        """Stored by this controller, which found a lost host's itself: no agent traces those."""
        if self._tracer is None:
            return
        for change in changes:
            moment = utc(changed_at(change))
            if change.kind is FaultKind.HOST_LOST and moment is not None:
                at_ns = ns_of(moment)
                self._tracer.change(change.fault_id, change, at_ns, at_ns)

    def attempted(self, pending: Pending, outcome: Outcome, began_ns: int) -> None:
        """To tell a sink. Failures are the delivery's to say."""
        fault = pending.fault
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "fault %s: %s: sink %s: attempt %d: %s",
                *(fault.id, fault.status, outcome.sink, outcome.attempts),
                "delivered" if outcome.state == DONE else f"not taken: {outcome.last_error}",
                extra=about(fault.id),
            )
        if self._tracer is not None:
            stage = Stage(
                name=f"deliver {outcome.sink}",
                began_ns=began_ns,
                ended_ns=now_ns(),
                kind="CLIENT",
                attributes={
                    "peer.service": outcome.sink,
                    "reachthru.delivery.attempt": outcome.attempts,
                },
                error=outcome.last_error,
            )
            self._tracer.stage(fault.id, fault, stage)


UNTRACED = Trail()
