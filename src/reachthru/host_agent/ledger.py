"""A judge's changes as messages for controllers, with their times, into the outbox and the log."""

import time
from collections import Counter
from datetime import UTC, datetime

from reachthru.host_agent.judge import Change
from reachthru.host_agent.lateness import AwakeTime
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.trail import UNTRACED, Trail
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import CATALOGUE, FaultKind, FaultStatus


class Ledger:
    """Detection is the moment that `enter` or `clear` is called."""

    def __init__(
        self, host: str, outbox: Outbox, awake: AwakeTime, trail: Trail = UNTRACED
    ) -> None:
        self._host = host
        self._outbox = outbox
        self._awake = awake
        self._trail = trail
        self.changes: Counter[tuple[FaultKind, FaultStatus]] = Counter()  # since the start

    def enter(self, instance_uuid: str, instance_name: str, change: Change) -> None:
        """A fault is raised."""
        detected_at = time.monotonic()
        fact = change.fact
        stages_ms = {"detected": 0.0}
        for stage, moment in (("last_good", fact.last_good), ("deadline", fact.deadline)):
            if moment is not None:
                stages_ms[stage] = round((self._awake.monotonic(moment) - detected_at) * 1000, 3)
        self._record(
            FaultChange(
                fault_id=change.fault_id,
                seq=0,  # the outbox gives it
                status=FaultStatus.RAISED,
                kind=change.kind,
                severity=CATALOGUE[change.kind].severity,
                instance_uuid=instance_uuid,
                instance_name=instance_name,
                host=self._host,
                raised_at=_wall_time(),
                detail=fact.detail,
                corrective_action=fact.corrective_action,
                stages_ms=stages_ms,
            ),
            detected_at,
        )

    def clear(self, fault_id: str, detail: str) -> None:
        """An active fault is over; `detail` says why."""
        detected_at = time.monotonic()
        raised = self._outbox.active[fault_id]
        self._record(
            FaultChange(
                fault_id=fault_id,
                seq=0,
                status=FaultStatus.CLEARED,
                kind=raised.kind,
                severity=raised.severity,
                instance_uuid=raised.instance_uuid,
                instance_name=raised.instance_name,
                host=self._host,
                raised_at=raised.raised_at,
                cleared_at=_wall_time(),
                detail=detail,
                corrective_action=raised.corrective_action,
                stages_ms={"detected": 0.0},
            ),
            detected_at,
        )

    def _record(self, change: FaultChange, detected_at: float) -> None:
        self.changes[change.kind, change.status] += 1
        self._outbox.record(change, detected_at)
        self._trail.detected(change)


def _wall_time() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
