"""One controller among others: what hears, knows, and decides, between the bus and the database."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any

from reachthru.bus import ControllerBus
from reachthru.controller_server.cluster.feed import FaultFeed, Heard
from reachthru.controller_server.cluster.forgetting import Forgetting
from reachthru.controller_server.cluster.host_watch import HostWatch
from reachthru.controller_server.cluster.identity import Standing
from reachthru.controller_server.cluster.leadership import Leadership
from reachthru.controller_server.cluster.presence import Presence
from reachthru.controller_server.events import EventHub, FaultEvents
from reachthru.controller_server.fault_intake import FaultIntake
from reachthru.controller_server.groups.base import GroupDirectory
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.service import GroupService
from reachthru.controller_server.intake import Intake
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.store import outages
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.trail import UNTRACED, Trail
from reachthru.protocol.faults import FaultKind

DIRECTORY_WAIT_S = 6.0  # for the first picture of groups; longer than Nova's bus and API take

Part = tuple[str, Coroutine[Any, Any, None]]


class Node:
    """`open`, then keep what `parts` gives in tasks, then `close`, all with the database open.

    `open` comes before the bus is entered, `connection` is the bus's `on_connection`.
    """

    def __init__(
        self,
        bus: ControllerBus,
        *,
        database: Database,
        ledger: Ledger,
        census: Census,
        directory: GroupDirectory,
        events: EventHub,
        metrics: Metrics,
        lost_after_s: float,
        show_hosts: bool,
        trail: Trail = UNTRACED,
    ) -> None:
        self._database = database
        self._census = census
        self._events = events
        self.leadership = Leadership(database, bus.name)
        self.inventory = Inventory(database, bus, census, events, self.leadership.leads)
        self.feed = FaultFeed(database, bus)
        self.groups = GroupService(
            bus,
            directory,
            census,
            metrics,
            show_hosts=show_hosts,
            leads=self.leadership.leads,
        )
        self.watch = HostWatch(
            presence=Presence(lost_after_s),
            bus=bus,
            inventory=self.inventory,
            ledger=ledger,
            feed=self.feed,
            leadership=self.leadership,
            carried_by=census.carried_by,
        )
        self.forgetting = Forgetting(
            bus=bus,
            database=database,
            ledger=ledger,
            feed=self.feed,
            inventory=self.inventory,
            watch=self.watch,
        )
        standing = Standing(census)
        self._intake = Intake(
            bus,
            faults=FaultIntake(bus, ledger, standing, self.feed.take_stored, trail),
            feed=self.feed,
            inventory=self.inventory,
            standing=standing,
            watch=self.watch,
            groups=self.groups,
            forgetting=self.forgetting,
            metrics=metrics,
        )
        self._fault_events = FaultEvents(events, ledger)
        self._calls: set[asyncio.Task[None]] = set()
        self._roll_call: asyncio.Task[None] | None = None
        self.feed.listeners += [
            lambda heard: self.groups.take_faults(heard.changes),
            partial(_count, metrics, trail),
            lambda heard: self._fault_events.announce(heard.changes, heard.released),
        ]
        self.leadership.on_change = self._lead
        self.leadership.on_other = self.groups.led_by_another

    async def open(self) -> None:
        """Learns what others know already. Raises `DatabaseError`."""
        await self.feed.open()
        gone = await self.inventory.load()
        active = await self._database.read(outages.active_faults)
        for change in active:
            self._census.load_fault(change.instance_uuid, change.fault_id, change.kind)
        hosts = [host.host for host in self.inventory.hosts() if host.host not in gone]
        lost = [change for change in active if change.kind is FaultKind.HOST_LOST]
        self.watch.load(hosts, lost)

    def parts(self) -> list[Part]:
        return [
            ("leadership", self.leadership.run()),
            ("server groups", self.groups.run()),
            ("fault events", self._fault_events.run()),
            ("stored faults", self.feed.run()),
            ("host watch", self.watch.run()),
        ]

    async def take_work(self) -> None:
        """Reads the bus, which must have been entered, until it ends."""
        await self._intake.run()

    def connection(self, connected: bool) -> None:
        self.watch.connection(connected)
        if self._roll_call is not None:
            self._roll_call.cancel()
        if connected:
            self._roll_call = self._start(self.inventory.call_the_roll)

    async def close(self) -> None:
        """Others may lead from here on."""
        for call in self._calls:
            call.cancel()
        self.groups.close()
        await self.leadership.close()

    def _lead(self, leads: bool) -> None:
        if leads:
            self._start(self.inventory.take_over)
            self.groups.lead()

    def _start(self, call: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(call(), name="roll call")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task


def _count(metrics: Metrics, trail: Trail, heard: Heard) -> None:
    metrics.stored(heard.changes)
    if heard.ours:
        metrics.committed(heard.changes, datetime.now(UTC))
        trail.judged(heard.changes)


async def wait_for_groups(directory: GroupDirectory) -> None:
    """So that no guest's message is refused just because this controller is new here."""
    try:
        async with asyncio.timeout(DIRECTORY_WAIT_S):
            await directory.ready()
    except TimeoutError:
        return
