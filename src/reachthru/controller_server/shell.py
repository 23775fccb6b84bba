"""The running controller: everything wired together, in one asyncio process."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Sequence
from functools import partial

import uvicorn

from reachthru import systemd
from reachthru.bus import ControllerBus, controller_bus
from reachthru.controller_server.delivery import DeliveryWorker
from reachthru.controller_server.embedded_broker import LOOPBACK, EmbeddedBroker
from reachthru.controller_server.events import EventHub, FaultEvents
from reachthru.controller_server.groups.base import GroupDirectory
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.service import GroupService, load_census
from reachthru.controller_server.groups.static import StaticDirectory
from reachthru.controller_server.intake import Intake
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.listening import listening_socket
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.rest import rest_app
from reachthru.controller_server.settings import Settings
from reachthru.controller_server.sinks import enabled_sinks
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.changes import Stored
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.upkeep import Upkeep

REST_GRACE_S = 1  # for answers that are on their way at a stop

_log = logging.getLogger(__name__)


class StartError(Exception):
    """The controller can't start; one line for the operator. Exit with 1."""


class _RestServer(uvicorn.Server):
    """uvicorn as a part of a process, which has the signals for itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Controller:
    """`run` is the whole life of a controller."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._events = EventHub()
        self._metrics = Metrics()
        self._workers: list[DeliveryWorker] = []
        self._roll_call: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises `StartError`, and whatever a part of it died of."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        async with contextlib.AsyncExitStack() as stack:
            listener = self._listen()
            stack.callback(listener.close)
            bus_url = await self._start_broker(stack)
            database = await self._open_database(stack)
            name = f"{socket.gethostname()}-{os.getpid()}"
            ledger = Ledger(database, self._settings.sinks, f"{name}-{secrets.token_hex(4)}")
            parts = await self._start_sinks(stack, database, ledger)
            bus = controller_bus(bus_url, name)
            inventory = Inventory(database, bus, self._events)
            bus.on_connection = lambda connected: self._connection(inventory, connected)
            groups = await self._open_groups(stack, bus, inventory, ledger)
            parts.append(asyncio.create_task(groups.run(), name="server groups"))
            await stack.enter_async_context(bus)
            fault_events = FaultEvents(self._events, ledger)
            parts.append(asyncio.create_task(fault_events.run(), name="fault events"))
            intake = Intake(bus, ledger, inventory, groups, partial(self._stored, fault_events))
            parts.append(asyncio.create_task(intake.run(), name="intake"))
            parts.append(asyncio.create_task(_watchdog(), name="watchdog"))
            state = ControllerState(
                bus=bus,
                database=database,
                ledger=ledger,
                inventory=inventory,
                groups=groups.directory,
                events=self._events,
                metrics=self._metrics,
                sinks=self._settings.sinks,
            )
            await self._serve(state, listener, parts)

    async def _serve(
        self,
        state: ControllerState,
        listener: socket.socket,
        parts: list[asyncio.Task[None]],
    ) -> None:
        """Until the stop, or until one of the parts dies."""
        config = uvicorn.Config(
            rest_app(state),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=REST_GRACE_S,
        )
        server = _RestServer(config)
        rest = asyncio.create_task(server.serve(sockets=[listener]), name="rest")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        _log.info("listening on http://%s:%d", *listener.getsockname()[:2])
        systemd.notify("READY=1")
        try:
            done, _ = await asyncio.wait(
                (stopping, rest, *parts), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            systemd.notify("STOPPING=1")
            server.should_exit = True
            self._events.close()
            for part in (stopping, *parts, *([self._roll_call] if self._roll_call else [])):
                part.cancel()
            await asyncio.wait((rest, *parts), timeout=REST_GRACE_S + 0.5)
        for part in done - {stopping}:
            part.result()
            raise RuntimeError(f"{part.get_name()} ended by itself")

    def _listen(self) -> socket.socket:
        host, port = self._settings.api_host, self._settings.api_port
        try:
            return listening_socket(host, port)
        except OSError as error:
            raise StartError(f"[api] listen = {host}:{port}: {error.strerror}") from error

    async def _start_broker(self, stack: contextlib.AsyncExitStack) -> str:
        """The URL of the bus, with the embedded broker running if that is it."""
        port = self._settings.embedded_port
        if port is None:
            return self._settings.bus_url
        try:
            broker = await stack.enter_async_context(EmbeddedBroker(port))
        except OSError as error:
            raise StartError(
                f"[bus] url = {self._settings.bus_url}: port {port} of {LOOPBACK}: {error.strerror}"
            ) from error
        return f"mqtt://{LOOPBACK}:{broker.port}"

    async def _open_database(self, stack: contextlib.AsyncExitStack) -> Database:
        database = Database(self._settings.database_url)
        try:
            await database.open()
        except DatabaseError as error:
            raise StartError(f"[database] connection: {error}") from error
        stack.push_async_callback(database.close)
        return database

    async def _start_sinks(
        self, stack: contextlib.AsyncExitStack, database: Database, ledger: Ledger
    ) -> list[asyncio.Task[None]]:
        sinks = enabled_sinks(self._settings)
        upkeep = Upkeep(
            database,
            ledger,
            sinks,
            keep_cleared_days=self._settings.keep_cleared_days,
            max_cleared_faults=self._settings.max_cleared_faults,
            leads=lambda: True,
            on_forgotten=self._metrics.forgotten,
            on_repeats=self._wake,
        )
        tasks = [asyncio.create_task(upkeep.run(), name="upkeep")]
        for sink in sinks:
            await stack.enter_async_context(sink)
            worker = DeliveryWorker(sink, ledger, self._metrics.attempted)
            self._workers.append(worker)
            tasks.append(asyncio.create_task(worker.run(), name=f"sink {sink.name}"))
        return tasks

    async def _open_groups(
        self,
        stack: contextlib.AsyncExitStack,
        bus: ControllerBus,
        inventory: Inventory,
        ledger: Ledger,
    ) -> GroupService:
        census = Census()
        try:
            await load_census(census, inventory, ledger)
        except DatabaseError as error:
            raise StartError(f"[database] connection: {error}") from error
        directory = await self._group_directory(census)
        groups = GroupService(
            bus, directory, census, self._metrics, show_hosts=self._settings.show_hosts
        )
        stack.callback(groups.close)
        return groups

    async def _group_directory(self, census: Census) -> GroupDirectory:
        if self._settings.nova is None:
            directory = StaticDirectory(self._settings.groups_file, census)
            await directory.refresh()
            return directory
        # Its libraries are an extra, for where there is a Nova.
        from reachthru.controller_server.nova.directory import NovaDirectory  # noqa: PLC0415

        return NovaDirectory(self._settings.nova)

    def _stored(self, fault_events: FaultEvents, stored: Sequence[Stored]) -> None:
        fault_events.announce([item.id for item in stored])
        for item in stored:
            self._metrics.stored(item.change)

    def _wake(self) -> None:
        """There is something new to deliver."""
        for worker in self._workers:
            worker.wake()

    def _connection(self, inventory: Inventory, connected: bool) -> None:
        if self._roll_call is not None:
            self._roll_call.cancel()
        if connected:
            self._roll_call = asyncio.create_task(inventory.call_the_roll(), name="roll call")


async def _watchdog() -> None:
    """Tells systemd that the event loop turns."""
    interval_s = systemd.watchdog_interval_s()
    while True:
        await asyncio.sleep(3600.0 if interval_s is None else interval_s)
        systemd.notify("WATCHDOG=1")
