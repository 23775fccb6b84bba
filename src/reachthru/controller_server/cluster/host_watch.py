"""Finds hosts that are lost, and those that are back.

Every controller watches; the one that leads raises and clears the faults. What it does follows
from who is lost and which faults are active, so whoever takes over goes on where it was.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from reachthru.bus import ControllerBus
from reachthru.controller_server.cluster.feed import FaultFeed, Heard
from reachthru.controller_server.cluster.leadership import Leadership
from reachthru.controller_server.cluster.presence import LOOK_S, Look, Presence
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.model import Instance, iso
from reachthru.controller_server.store.changes import Arrived
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.outages import Loss
from reachthru.protocol.agent_bus import FaultChange, ReportRequest
from reachthru.protocol.controller_bus import ControllerNews
from reachthru.protocol.faults import CATALOGUE, FaultKind, FaultStatus
from reachthru.telemetry.logs import about

NAMED_LIMIT = 10  # instances in a fault's text; all of them are in its `instances`

_log = logging.getLogger(__name__)


class HostWatch:
    """`carried_by` names the instances of a host."""

    def __init__(
        self,
        *,
        presence: Presence,
        bus: ControllerBus,
        inventory: Inventory,
        ledger: Ledger,
        feed: FaultFeed,
        leadership: Leadership,
        carried_by: Callable[[str], list[Instance]],
    ) -> None:
        self._presence = presence
        self._bus = bus
        self._inventory = inventory
        self._ledger = ledger
        self._feed = feed
        self._leadership = leadership
        self._carried_by = carried_by
        self._echo = f"{bus.name}/echo"  # the name of nobody
        self._active: dict[str, FaultChange] = {}  # `host_lost` that is raised, by host
        self._complained = False
        feed.listeners.append(self._take_faults)

    @property
    def lost(self) -> int:
        return len(self._active)

    def is_lost(self, host: str) -> bool:
        return host in self._active

    @property
    def suspects_carrier(self) -> bool:
        return self._presence.suspects_carrier

    def load(self, hosts: list[str], active: list[FaultChange]) -> None:
        """What an earlier controller knew: who was there, and which `host_lost` are raised."""
        self._active = {change.host: change for change in active}
        self._presence.load(
            [host for host in hosts if host not in self._active], self._active, time.monotonic()
        )

    def connection(self, connected: bool) -> None:
        self._presence.connection(connected, time.monotonic())

    def heard(self, host: str) -> None:
        self._presence.heard(host, time.monotonic())

    def left(self, host: str) -> None:
        self._presence.left(host)

    def take_echo(self, news: ControllerNews) -> bool:
        """Whether that was one."""
        if news.controller != self._echo:
            return False
        self._presence.carried(time.monotonic())
        return True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._act_on(self._presence.look(time.monotonic()))
            if self._leadership.leads():
                try:
                    await self._settle()
                    self._complained = False
                except DatabaseError as error:
                    if not self._complained:
                        _log.error("lost hosts are not stored, trying again: %s", error)
                    self._complained = True

    def _act_on(self, look: Look) -> None:
        for host in look.ask:
            self._bus.offer(host, ReportRequest())
        if look.prove:
            self._bus.tell_controllers(ControllerNews(controller=self._echo, changes=[]))
        if look.suspected:
            _log.error(
                "%d hosts, more than half, fell silent together: it may be the broker or the"
                " network that has failed, so no host is called lost yet",
                look.suspected,
            )
        if look.cleared:
            _log.warning("hosts that fell silent together are back: none of them was called lost")
        for host in look.lost:
            self._inventory.set_offline(host)

    async def _settle(self) -> None:
        """Makes the faults what they should be. Raises `DatabaseError`."""
        now, at = time.monotonic(), datetime.now(UTC)
        missing = [
            (host, now - heard_at)
            for host, heard_at in self._presence.lost.items()
            if host not in self._active and heard_at is not None
        ]
        if missing:
            losses = [self._loss(host, silence_s, at) for host, silence_s in missing]
            stored = await self._ledger.lose_hosts(losses, self._leadership.name)
            for item in stored:
                _log.error(
                    "host %s is lost: %s [fault %s]",
                    *(item.change.host, item.change.detail, item.change.fault_id),
                    extra=about(item.change.fault_id),
                )
            self._feed.take_stored(stored)
        back = [change for host, change in self._active.items() if host not in self._presence.lost]
        if back:
            cleared = [Arrived(_cleared(change, at), at) for change in back]
            for change in back:
                _log.warning(
                    "host %s is back [fault %s]",
                    *(change.host, change.fault_id),
                    extra=about(change.fault_id),
                )
            self._feed.take_stored(await self._ledger.add(cleared))

    def _loss(self, host: str, silence_s: float, at: datetime) -> Loss:
        carried = self._carried_by(host)
        change = FaultChange(
            fault_id=str(uuid.uuid4()),
            seq=0,
            status=FaultStatus.RAISED,
            kind=FaultKind.HOST_LOST,
            severity=CATALOGUE[FaultKind.HOST_LOST].severity,
            instance_uuid="",
            instance_name="",
            host=host,
            raised_at=iso(at),
            detail=f"nothing was heard of its agent for {silence_s:.0f} s; {_named(carried)}",
            stages_ms={"last_good": round(-silence_s * 1000, 3), "detected": 0.0},
        )
        return Loss(Arrived(change, at), [instance.uuid for instance in carried])

    def _take_faults(self, heard: Heard) -> None:
        for change in heard.changes:
            if change.kind is not FaultKind.HOST_LOST:
                continue
            if change.status is FaultStatus.RAISED:
                self._active[change.host] = change
                if heard.ours:
                    self._presence.told(change.host)
                else:
                    self._presence.found_lost(change.host)
            else:
                self._active.pop(change.host, None)
                self._presence.found_back(change.host, time.monotonic())


def _named(instances: list[Instance]) -> str:
    if not instances:
        return "it carried no instance"
    names = ", ".join(f"{instance.name} ({instance.uuid})" for instance in instances[:NAMED_LIMIT])
    more = len(instances) - NAMED_LIMIT
    return f"it carried {names}" + (f" and {more} more" if more > 0 else "")


def _cleared(change: FaultChange, at: datetime) -> FaultChange:
    return FaultChange(
        fault_id=change.fault_id,
        seq=0,
        status=FaultStatus.CLEARED,
        kind=change.kind,
        severity=change.severity,
        instance_uuid="",
        instance_name="",
        host=change.host,
        raised_at=change.raised_at,
        cleared_at=iso(at),
        detail="its agent is back",
        stages_ms={"detected": 0.0},
    )
