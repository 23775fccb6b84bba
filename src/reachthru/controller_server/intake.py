"""From the bus to whoever must know: everything that agents and other controllers say."""

import asyncio
import logging

from reachthru.bus import ControllerBus
from reachthru.controller_server.cluster.feed import FaultFeed
from reachthru.controller_server.cluster.forgetting import Forgetting
from reachthru.controller_server.cluster.host_watch import HostWatch
from reachthru.controller_server.cluster.identity import Standing, is_reasonable
from reachthru.controller_server.fault_intake import FaultIntake
from reachthru.controller_server.groups.census import Removed
from reachthru.controller_server.groups.service import GroupService
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.metrics import Metrics
from reachthru.protocol.agent_bus import (
    BATCH_LIMIT,
    AgentMessage,
    AgentReport,
    FaultAck,
    FaultBatch,
    FaultChange,
    GroupBroadcast,
    GroupQuery,
    read_batch,
)
from reachthru.protocol.controller_bus import ControllerNews
from reachthru.protocol.errors import PeerError
from reachthru.protocol.replay import ReplayGuard

COMPLAINTS_LIMIT = 1_000  # hosts; more are counted in silence

_log = logging.getLogger(__name__)


class Intake:
    """Reads the bus and sorts; nothing here waits, except for a database that is behind."""

    def __init__(
        self,
        bus: ControllerBus,
        *,
        faults: FaultIntake,
        feed: FaultFeed,
        inventory: Inventory,
        standing: Standing,
        watch: HostWatch,
        groups: GroupService,
        forgetting: Forgetting,
        metrics: Metrics,
    ) -> None:
        self._bus = bus
        self._faults = faults
        self._feed = feed
        self._inventory = inventory
        self._standing = standing
        self._watch = watch
        self._groups = groups
        self._forgetting = forgetting
        self._metrics = metrics
        self._replays = ReplayGuard()
        self._complaints: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Until cancelled, or until the bus ends."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(self._faults.run(), name="fault changes"),
                tasks.create_task(self._inventory.run(), name="reports"),
            ]
            async for name, message in self._bus.messages():
                if isinstance(message, ControllerNews):
                    self._take_news(message)
                else:
                    await self._take(name, message)
            for helper in helpers:
                helper.cancel()

    async def _take(self, host: str, message: AgentMessage) -> None:
        if isinstance(message, FaultChange):
            await self._faults.take(message)
        elif isinstance(message, FaultBatch):
            await self._take_batch(message)
        elif isinstance(message, GroupBroadcast | GroupQuery):
            self._groups.take_message(host, message)
        elif isinstance(message, AgentReport):
            self._take_report(message)
        else:
            self._inventory.take_offline(message)
            if message.clean:
                self._watch.left(host)

    async def _take_batch(self, batch: FaultBatch) -> None:
        for change in read_batch(batch):
            if isinstance(change, PeerError):  # never acknowledged: see docs/spec/agent-bus.md
                self._refuse(batch.host, "fault", change.reason, str(change))
            else:
                await self._faults.take(change)

    def _take_report(self, report: AgentReport) -> None:
        if not self._replays.is_new(report.host, report.epoch, report.seq):
            self._refuse(report.host, "report", "replayed", "it came before")
        elif not is_reasonable(report):
            self._refuse(report.host, "report", "garbled", "it has numbers beyond reason")
        else:
            # Before groups hear of what has changed: what they do depends on who is lost.
            self._watch.heard(report.host)
            if report.full:  # an agent that does not know who listens sends its news twice
                self._bus.offer(report.host, FaultAck(seqs=[], batch_limit=BATCH_LIMIT))
            changes = self._inventory.take_report(report)
            now = asyncio.get_running_loop().time()
            for instance in changes.instances:
                if isinstance(instance, Removed):
                    self._standing.departed(instance.host, instance.uuid, now)
            self._metrics.agent_group_losses(report.host, report.group_losses, full=report.full)

    def _take_news(self, news: ControllerNews) -> None:
        if not self._watch.take_echo(news):
            self._feed.take_news(news)
            for host in news.forgotten:
                self._forgetting.take(host)

    def _refuse(self, host: str, what: str, reason: str, why: str) -> None:
        self._bus.refused[reason] += 1
        if (host, reason) in self._complaints or len(self._complaints) >= COMPLAINTS_LIMIT:
            return
        self._complaints.add((host, reason))
        _log.warning(
            "host %s: a %s is refused (%s): %s; the next ones like it are only counted",
            host,
            what,
            reason,
            why,
        )
