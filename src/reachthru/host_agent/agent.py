"""The running host agent: everything wired together, in one asyncio process."""

import asyncio
import contextlib
import gc
import logging
import signal
import time

from reachthru import systemd
from reachthru.bus import agent_bus
from reachthru.bus.base import AgentBus
from reachthru.host_agent.attach import Attacher
from reachthru.host_agent.backlog import Backlog
from reachthru.host_agent.complaints import PERIOD_S as COMPLAINTS_PERIOD_S
from reachthru.host_agent.complaints import Complaints
from reachthru.host_agent.courier import Courier
from reachthru.host_agent.discovery.base import Discovery
from reachthru.host_agent.discovery.directory import DirectoryDiscovery
from reachthru.host_agent.engine import Engine
from reachthru.host_agent.group_relay import GroupRelay
from reachthru.host_agent.lateness import AwakeTime
from reachthru.host_agent.ledger import Ledger
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.reporter import Reporter
from reachthru.host_agent.roster import Roster
from reachthru.host_agent.settings import HostSettings
from reachthru.host_agent.start_error import StartError
from reachthru.host_agent.store import Store
from reachthru.host_agent.trail import Trail
from reachthru.protocol.agent_bus import FaultAck, ReportRequest
from reachthru.protocol.heartbeat.host import HostPolicy
from reachthru.telemetry.traces import Tracer, TracingError, make_tracer

STORE_CLOSE_S = 0.5  # how long a stop waits for the disk
STATUS_PERIOD_S = 5.0
BACKLOG_PERIOD_S = 1.0

_log = logging.getLogger(__name__)


class HostAgent:
    """`run` is the whole life of a host agent. Raises `BusUrlError`, `DoorError`, `StartError`."""

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._awake = AwakeTime()
        self._bus = agent_bus(settings.bus_url, settings.host, settings.bus_door)
        self._store = Store(settings.outbox_path, self._loop)
        self._outbox = Outbox(self._store, self._loop)
        self._tracer = _tracer(settings)
        trail = Trail(self._tracer, settings.bus_url)
        self._ledger = Ledger(settings.host, self._outbox, self._awake, trail)
        self._outbox.on_found = lambda raised: self._ledger.clear(
            raised.fault_id, "its guest was judged anew while the outbox could not be read"
        )
        self._discovery = choose_discovery(settings)
        self._roster = Roster(
            policy=HostPolicy(settings.min_interval_ms, settings.failure_threshold),
            registration_limit_s=settings.registration_limit_s,
            outbox=self._outbox,
            ledger=self._ledger,
            discovery=self._discovery,
        )
        self._engine = Engine(
            self._loop,
            self._awake,
            on_hang_up=self._roster.hung_up,
            on_tick=self._ticked,
            on_loss=self._lost_time,
        )
        self._attacher = Attacher(
            self._loop, on_connected=self._roster.connected, on_refused=self._roster.refused
        )
        self._groups = GroupRelay(self._loop, self._engine, self._bus, settings.groups)
        self._courier = Courier(self._bus, self._outbox, trail=trail)
        self._reporter = Reporter(
            *(settings.host, self._bus, self._roster, self._awake),
            group_losses=self._groups.losses,
            outbox=self._outbox,
        )
        self._watchdog_s = systemd.watchdog_interval_s()
        self._watchdog_at = self._status_at = 0.0
        self._bus_connections = 0

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        try:
            await self._outbox.open()
            self._roster.use(self._engine, self._attacher, self._groups)
            self._engine.start()
            self._bus.on_connection = self._connection_changed
            async with self._metrics_door(), self._bus:
                await self._run_parts()
        finally:
            systemd.notify("STOPPING=1")
            self._attacher.close()
            self._groups.close()
            self._engine.close()
            self._store.close(STORE_CLOSE_S)
            if self._tracer is not None:
                self._tracer.close()

    def _metrics_door(self) -> contextlib.AbstractAsyncContextManager[object]:
        """Prometheus' library is imported only where somebody may ask."""
        if self._settings.metrics is None:
            return contextlib.nullcontext()
        from reachthru.host_agent.metrics import AgentMetrics  # noqa: PLC0415
        from reachthru.host_agent.metrics_door import metrics_door  # noqa: PLC0415

        metrics = AgentMetrics(
            roster=self._roster,
            ledger=self._ledger,
            outbox=self._outbox,
            awake=self._awake,
            bus=self._bus,
            discovery=self._discovery,
            group_losses=self._groups.losses,
            bus_connections=lambda: self._bus_connections,
        )
        return metrics_door(self._settings.metrics, metrics)

    async def _run_parts(self) -> None:
        parts = [
            asyncio.create_task(self._discovery.run(self._roster), name="discovery"),
            asyncio.create_task(self._courier.run(), name="courier"),
            asyncio.create_task(self._reporter.run(), name="reporter"),
            asyncio.create_task(self._listen(self._bus), name="bus"),
            asyncio.create_task(self._sum_up(), name="complaints"),
            asyncio.create_task(self._watch_backlog(), name="backlog"),
        ]
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        # What is there now stays. Without it a full collection takes a third of the time, in
        # which no guest is challenged.
        gc.collect()
        gc.freeze()
        systemd.notify("READY=1")
        _log.info("host agent of %s: ready", self._settings.host)
        try:
            ended, _ = await asyncio.wait([*parts, stopping], return_when=asyncio.FIRST_COMPLETED)
            for part in ended - {stopping}:
                part.result()  # raises what it died of
        finally:
            for task in (*parts, stopping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*parts, stopping, return_exceptions=True)

    async def _listen(self, bus: AgentBus) -> None:
        async for message in bus.messages():
            if isinstance(message, FaultAck):
                self._courier.acknowledge(message.seqs, message.batch_limit)
            elif isinstance(message, ReportRequest):
                self._reporter.ask_full()
                self._courier.rewind()
            else:
                self._groups.take(message)

    async def _sum_up(self) -> None:
        complaints = Complaints()
        while True:
            await asyncio.sleep(COMPLAINTS_PERIOD_S)
            complaints.sum_up(self._roster.channels())

    async def _watch_backlog(self) -> None:
        backlog, outbox = Backlog(), self._outbox
        while True:
            await asyncio.sleep(BACKLOG_PERIOD_S)
            line = backlog.look(
                outbox.waiting,
                outbox.oldest_seq,
                connected=self._bus.connected,
                now=time.monotonic(),
            )
            if line is not None:
                _log.warning("%s", line)

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._bus_connections += 1
            self._reporter.ask_full()
            self._courier.rewind()

    def _ticked(self) -> None:
        """A sign of life that only an engine that ticks can give."""
        now = time.monotonic()
        if self._watchdog_s is not None and now >= self._watchdog_at:
            self._watchdog_at = now + self._watchdog_s
            systemd.notify("WATCHDOG=1")
        if now >= self._status_at:
            self._status_at = now + STATUS_PERIOD_S
            guests, faults = len(self._roster.instances), len(self._outbox.active)
            waiting = self._outbox.waiting
            systemd.notify(
                f"STATUS={guests} guests, {faults} active faults,"
                f" {waiting} changes wait for a controller"
                + ("" if self._outbox.durable else ", the outbox can't be written")
            )

    def _lost_time(self, lost_s: float) -> None:
        _log.warning(
            "this agent was stopped or starved: it woke %.0f ms late; its guests get the time back",
            lost_s * 1000,
        )


def _tracer(settings: HostSettings) -> Tracer | None:
    try:
        return make_tracer("reachthru-host", settings.otlp_endpoint, settings.host)
    except TracingError as error:
        raise StartError(str(error)) from error


def choose_discovery(settings: HostSettings) -> Discovery:
    """The driver that `[discovery] driver` names. libvirt is imported only where it is wanted."""
    if settings.driver == "directory":
        return DirectoryDiscovery(settings.directory)
    try:
        from reachthru.host_agent.discovery.libvirt import LibvirtDiscovery  # noqa: PLC0415
    except ImportError as error:
        raise StartError(
            f"[discovery] driver = libvirt needs libvirt's Python binding: {error}; install"
            " python3-libvirt, or libvirt-python in the version of this machine's libvirt"
        ) from error
    return LibvirtDiscovery(settings.connection_uri, hotplug=settings.hotplug)
