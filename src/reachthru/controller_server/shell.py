"""The running controller: everything wired together, in one asyncio process."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import uvicorn

from reachthru import systemd
from reachthru.bus import ControllerBus, controller_bus
from reachthru.certificates import CertificateError
from reachthru.controller_server.cluster.node import Node, wait_for_groups
from reachthru.controller_server.delivery import DeliveryWorker
from reachthru.controller_server.embedded_broker import LOOPBACK, EmbeddedBroker
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.directories import open_directory
from reachthru.controller_server.listening import bound_socket
from reachthru.controller_server.maintenance import Maintenance
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.rest.server import REST_GRACE_S, rest_server
from reachthru.controller_server.rest.tls import PeerSocket
from reachthru.controller_server.settings import Settings
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.ticks import each_second
from reachthru.controller_server.trail import Trail
from reachthru.controller_server.upkeep import Upkeep
from reachthru.telemetry.traces import Tracer, TracingError, make_tracer

INTAKE_END_S = 0.5  # how long a stop waits for what has just come
DATABASE_RETRY_S = 1.0

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """Before it had started."""


class StartError(Exception):
    """The controller can't start; one line for the operator. Exit with 1."""


class Controller:
    """`run` is the whole life of a controller."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sink_names = tuple(sink.name for sink in settings.sinks)
        # Of this life: another one's lease and connection are not this one's.
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        self._stop = asyncio.Event()
        self._events = EventHub()
        self._metrics = Metrics()
        self._workers: list[DeliveryWorker] = []
        self._parts: list[asyncio.Task[None]] = []
        self._intake: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises `StartError`, and whatever a part of it died of."""
        with contextlib.suppress(_StoppedError):
            await self._run()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        async with contextlib.AsyncExitStack() as stack:
            listener = self._listen()
            stack.callback(listener.close)
            bus_url = await self._start_broker(stack)
            database = await self._open_database(stack)
            owner = f"{self._name}-{secrets.token_hex(4)}"  # no later life has its claims
            ledger = Ledger(database, self._sink_names, owner)
            trail = Trail(self._tracer(stack), self._settings.bus_url, self._settings.database_url)
            await self._start_sinks(stack, database, ledger, trail)
            bus = controller_bus(bus_url, self._name, self._settings.bus_door)
            node = await self._with_database(partial(self._open_node, bus, database, ledger, trail))
            maintenance = Maintenance(
                database,
                node.groups.directory,
                leads=node.leadership.leads,
                on_released=partial(self._released, node),
            )
            state = self._state(bus, database, ledger, node, maintenance)
            server = await self._rest_server(stack, state)
            for name, part in node.parts():
                self._start(name, part)
            self._start("maintenance", each_second(maintenance.turn))
            self._start("upkeep", each_second(self._upkeep(database, ledger, node).turn))
            self._start("watchdog", _watchdog())
            # Whoever takes part in the work must know the groups.
            await wait_for_groups(state.groups)
            bus.on_connection = node.connection
            # What is on its way here when the bus is left is still taken.
            stack.push_async_callback(self._end_intake)
            await stack.enter_async_context(bus)
            stack.push_async_callback(node.close)
            self._intake = asyncio.create_task(node.take_work(), name="intake")
            await self._serve(server, listener, self._intake)

    async def _serve(
        self, server: uvicorn.Server, listener: socket.socket, intake: asyncio.Task[None]
    ) -> None:
        """Until the stop, or until one of the parts dies."""
        rest = asyncio.create_task(server.serve(sockets=[listener]), name="rest")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        scheme = "https" if self._settings.api.tls is not None else "http"
        _log.info("listening on %s://%s:%d", scheme, *listener.getsockname()[:2])
        systemd.notify("READY=1")
        try:
            done, _ = await asyncio.wait(
                (stopping, rest, intake, *self._parts), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            systemd.notify("STOPPING=1")
            server.should_exit = True
            self._events.close()
            for part in (stopping, *self._parts):
                part.cancel()
            await asyncio.wait((rest, *self._parts), timeout=REST_GRACE_S + 0.5)
        for part in done - {stopping}:
            part.result()
            raise RuntimeError(f"{part.get_name()} ended by itself")

    def _start(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        self._parts.append(asyncio.create_task(part, name=name))

    async def _rest_server(
        self, stack: contextlib.AsyncExitStack, state: ControllerState
    ) -> uvicorn.Server:
        try:
            return await stack.enter_async_context(rest_server(self._settings.api, state))
        except CertificateError as error:
            raise StartError(f"[api] tls: {error}") from error

    def _tracer(self, stack: contextlib.AsyncExitStack) -> Tracer | None:
        try:
            tracer = make_tracer(
                "reachthru-controller", self._settings.otlp_endpoint, socket.gethostname()
            )
        except TracingError as error:
            raise StartError(str(error)) from error
        if tracer is not None:
            stack.callback(tracer.close)
        return tracer

    def _listen(self) -> socket.socket:
        host, port = self._settings.api.host, self._settings.api.port
        try:
            return bound_socket(host, port, PeerSocket)
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
        stack.push_async_callback(database.close)
        await self._with_database(database.open)
        return database

    async def _with_database(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Waits for a server that is away: after a loss of power it may be the last to return."""
        said = ""
        while True:
            try:
                result = await work()
            except DatabaseError as error:
                if not error.of_connection:
                    raise StartError(f"[database] connection: {error}") from error
                if str(error) != said:
                    said = str(error)
                    _log.error("[database] connection: %s; waiting for it", said)
                    systemd.notify("STATUS=waiting for the database")
            else:
                if said:
                    _log.warning("[database] connection: it is there")
                    systemd.notify("STATUS=")
                return result
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), DATABASE_RETRY_S)
                raise _StoppedError

    async def _start_sinks(
        self,
        stack: contextlib.AsyncExitStack,
        database: Database,
        ledger: Ledger,
        trail: Trail,
    ) -> None:
        for sink in self._settings.sinks:
            sink.remember_in(database)
            await stack.enter_async_context(sink)
            self._metrics.expect_sink(sink.name)
            worker = DeliveryWorker(sink, ledger, self._metrics.attempted, trail)
            self._workers.append(worker)
            self._start(f"sink {sink.name}", worker.run())

    async def _open_node(
        self, bus: ControllerBus, database: Database, ledger: Ledger, trail: Trail
    ) -> Node:
        census = Census()
        node = Node(
            bus,
            database=database,
            ledger=ledger,
            census=census,
            directory=open_directory(self._settings, census),
            events=self._events,
            metrics=self._metrics,
            trail=trail,
            lost_after_s=self._settings.lost_after_s,
            show_hosts=self._settings.show_hosts,
        )
        await node.open()
        return node

    def _state(
        self,
        bus: ControllerBus,
        database: Database,
        ledger: Ledger,
        node: Node,
        maintenance: Maintenance,
    ) -> ControllerState:
        return ControllerState(
            bus=bus,
            database=database,
            ledger=ledger,
            inventory=node.inventory,
            groups=node.groups.directory,
            events=self._events,
            metrics=self._metrics,
            leadership=node.leadership,
            watch=node.watch,
            forgetting=node.forgetting,
            maintenance=maintenance,
            sinks=self._sink_names,
            workers=self._workers,
        )

    async def _end_intake(self) -> None:
        if self._intake is not None:
            await asyncio.wait((self._intake,), timeout=INTAKE_END_S)
            self._intake.cancel()
            await asyncio.wait((self._intake,))

    def _upkeep(self, database: Database, ledger: Ledger, node: Node) -> Upkeep:
        return Upkeep(
            database,
            ledger,
            self._settings.sinks,
            keep_cleared_days=self._settings.keep_cleared_days,
            max_cleared_faults=self._settings.max_cleared_faults,
            leads=node.leadership.leads,
            on_forgotten=self._metrics.forgotten,
            on_repeats=self._wake,
        )

    def _released(self, node: Node, fault_ids: Sequence[str]) -> None:
        self._wake()
        node.feed.take_released(fault_ids)

    def _wake(self) -> None:
        """There is something new to deliver."""
        for worker in self._workers:
            worker.wake()


async def _watchdog() -> None:
    """Tells systemd that the event loop turns."""
    interval_s = systemd.watchdog_interval_s()
    while True:
        await asyncio.sleep(3600.0 if interval_s is None else interval_s)
        systemd.notify("WATCHDOG=1")
