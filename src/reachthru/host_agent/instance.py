"""One instance on this host: its ports, its judge, and what a report says of it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from reachthru.host_agent.channel import Channel
from reachthru.host_agent.discovery.base import EVERY_SERVICE
from reachthru.host_agent.judge import Judge
from reachthru.protocol.agent_bus import InstanceReport
from reachthru.protocol.heartbeat.events import Session


class Instance:
    """Stands in the engine's wheel with its judge's deadlines. `settle` follows each wake."""

    __slots__ = (
        *("_settle", "channels", "health", "health_detail", "judge", "name", "note", "services"),
        *("slot", "uuid"),
    )

    def __init__(
        self, uuid: str, name: str, judge: Judge, settle: Callable[["Instance"], None]
    ) -> None:
        self.uuid = uuid
        self.name = name
        self.judge = judge
        self.services = EVERY_SERVICE
        self.note = ""  # discovery's
        self.channels: dict[str, Channel] = {}  # by port name
        self.health: str | None = None  # the guest's last word ...
        self.health_detail = ""  # ... and what it said with it
        self.slot: int | None = None  # the wheel's
        self._settle = settle

    def __repr__(self) -> str:
        return f"<instance {self.uuid}>"

    def deadline(self) -> float | None:
        return self.judge.deadline()

    def wake(self, now: float) -> None:
        self.judge.wake(now)
        self._settle(self)

    @property
    def session(self) -> Session | None:
        for channel in self.channels.values():
            if channel.core.session is not None:
                return channel.core.session
        return None

    def report(self, now: float, wall: datetime) -> InstanceReport:
        """As of `now` (awake time), which is `wall` on the clock (UTC)."""
        session = self.session
        seen = [c.core.last_answer_at for c in self.channels.values()]
        last_seen = max((moment for moment in seen if moment is not None), default=None)
        slowest_s = max((c.core.take_slowest_s() for c in self.channels.values()), default=0.0)
        return InstanceReport(
            uuid=self.uuid,
            name=self.name,
            state=self.judge.condition,
            registered=session is not None,
            interval_ms=session.interval_ms if session else None,
            last_seen_at=None
            if last_seen is None
            else (wall - timedelta(seconds=now - last_seen)).isoformat(timespec="microseconds"),
            health=self.health,
            note=self.note,
            health_detail=self.health_detail,
            round_trip_ms=round(slowest_s * 1000, 3) or None,
        )
