"""Server groups in the controller: who knows them, what agents know, and the router between."""

from collections.abc import Callable, Iterable

from reachthru.bus import ControllerBus
from reachthru.controller_server.groups.base import GroupDirectory
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.router import GroupRouter
from reachthru.controller_server.metrics import Metrics
from reachthru.protocol.agent_bus import FaultChange, GroupBroadcast, GroupQuery


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
        leads: Callable[[], bool],
    ) -> None:
        self.directory = directory
        self._census = census
        self._router = GroupRouter(
            bus, directory, census, metrics, show_hosts=show_hosts, leads=leads
        )
        self.lead = self._router.lead
        self.led_by_another = self._router.led_by_another

    def close(self) -> None:
        self._router.close()

    async def run(self) -> None:
        await self.directory.run()

    def take_message(self, host: str, message: GroupBroadcast | GroupQuery) -> None:
        self._router.take(host, message)

    def take_faults(self, changes: Iterable[FaultChange]) -> None:
        """Those that were new."""
        self._census.take_faults(changes)
