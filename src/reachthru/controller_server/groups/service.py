"""Server groups in the controller: who knows them, what agents know, and the router between."""

from collections import defaultdict
from collections.abc import Iterable

from reachthru.bus import ControllerBus
from reachthru.controller_server.groups.base import GroupDirectory
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.router import GroupRouter
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.controller_server.store.tables import ONLINE
from reachthru.protocol.agent_bus import (
    AgentOffline,
    AgentReport,
    FaultChange,
    GroupBroadcast,
    GroupQuery,
    InstanceReport,
)
from reachthru.protocol.faults import FaultKind

LOADED_FAULTS_LIMIT = 100_000


class GroupService:
    """What the intake tells of agents' words, as they come; on the event loop."""

    def __init__(
        self,
        bus: ControllerBus,
        directory: GroupDirectory,
        census: Census,
        metrics: Metrics,
        *,
        show_hosts: bool,
    ) -> None:
        self.directory = directory
        self._census = census
        self._metrics = metrics
        self._router = GroupRouter(bus, directory, census, metrics, show_hosts=show_hosts)

    def close(self) -> None:
        self._router.close()

    async def run(self) -> None:
        await self.directory.run()

    def take_message(self, host: str, message: GroupBroadcast | GroupQuery) -> None:
        self._router.take(host, message)

    def take_report(self, report: AgentReport) -> None:
        self._census.take_report(report)
        self._metrics.agent_group_losses(report.host, report.group_losses)

    def take_offline(self, word: AgentOffline) -> None:
        self._census.take_offline(word)

    def take_faults(self, changes: Iterable[FaultChange]) -> None:
        """Those that were new."""
        self._census.take_faults(changes)


async def load_census(census: Census, inventory: Inventory, ledger: Ledger) -> None:
    """What an earlier controller knew, so that its end is no news. Raises `DatabaseError`."""
    instances: dict[str, list[InstanceReport]] = defaultdict(list)
    for known in await inventory.instances():
        instances[known.host].append(
            InstanceReport(
                uuid=known.uuid, name=known.name, state=known.state, registered=known.registered
            )
        )
    for host in await inventory.hosts():
        census.load(host.host, instances[host.host], online=host.state == ONLINE)
    wanted = FaultFilter(active=True, limit=LOADED_FAULTS_LIMIT)
    for fault in await ledger.faults(wanted):
        census.load_fault(fault.instance_uuid, fault.id, FaultKind(fault.kind))
