"""A fault's way through this agent: a line in the log for each stage, and a span where there are
traces. Every line names the fault's id, which the controller's lines name as well."""

import logging
from collections.abc import Iterable
from datetime import datetime

from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultStatus
from reachthru.telemetry.logs import about
from reachthru.telemetry.traces import Stage, Tracer, attributes_of_bus, now_ns, ns_of

_log = logging.getLogger("reachthru.faults")
_NS_A_MS = 1_000_000


class Trail:
    """`tracer` is None where nobody asked for traces."""

    def __init__(self, tracer: Tracer | None = None, bus_url: str = "") -> None:
        self._tracer = tracer
        self._send_attributes = attributes_of_bus(bus_url, "send")

    def detected(self, change: FaultChange) -> None:
        level = logging.WARNING if change.status is FaultStatus.RAISED else logging.INFO
        _log.log(
            level,
            "%s (%s): %s %s: %s [fault %s]",
            *(change.instance_uuid, change.instance_name, change.kind, change.status),
            *(change.detail, change.fault_id),
            extra=about(change.fault_id),
        )
        if self._tracer is not None:
            detected_ns = _detected_ns(change)
            # From the moment that an answer was due, where that is what was missed.
            due_ns = int(min(0.0, change.stages_ms.get("deadline", 0.0)) * _NS_A_MS)
            self._tracer.change(change.fault_id, change, detected_ns + due_ns, detected_ns)

    def kept(self, change: FaultChange) -> None:
        """It is durable, or as durable as it gets."""
        self._say("in the outbox", change)
        if self._tracer is not None:
            stage = Stage(name="outbox", began_ns=_detected_ns(change), ended_ns=now_ns())
            self._tracer.stage(change.fault_id, change, stage)

    def sent(self, changes: Iterable[FaultChange], began_ns: int) -> None:
        """The broker has them; they were handed to the carrier at `began_ns`."""
        for change in changes:
            self._say("sent", change)
            if self._tracer is not None:
                stage = Stage(
                    name="send faults",
                    began_ns=began_ns,
                    ended_ns=now_ns(),
                    kind="PRODUCER",
                    attributes=self._send_attributes,
                )
                self._tracer.stage(change.fault_id, change, stage)

    def acknowledged(self, changes: Iterable[FaultChange]) -> None:
        """A controller has them."""
        for change in changes:
            self._say("acknowledged by a controller", change)

    def _say(self, what: str, change: FaultChange) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "fault %s: %s: %s",
                *(change.fault_id, change.status, what),
                extra=about(change.fault_id),
            )


def _detected_ns(change: FaultChange) -> int:
    return ns_of(datetime.fromisoformat(change.cleared_at or change.raised_at))


UNTRACED = Trail()
