"""Hosts that never return: an operator says so, and every controller forgets them.

What only the host's agent could end, ends with it: its loss, and the faults that it raised.
"""

import logging
from datetime import UTC, datetime

from msgspec import structs

from reachthru.bus import BusUnavailableError, ControllerBus
from reachthru.controller_server.cluster.feed import FaultFeed
from reachthru.controller_server.cluster.host_watch import HostWatch
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.model import iso
from reachthru.controller_server.store import inventory as rows
from reachthru.controller_server.store import outages
from reachthru.controller_server.store.changes import Arrived
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.tables import ONLINE
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.controller_bus import ControllerNews
from reachthru.protocol.faults import FaultStatus

_log = logging.getLogger(__name__)


class UnknownHostError(Exception):
    """No controller knows such a host."""


class HostAliveError(Exception):
    """Its agent reports; it would be known again at once."""


class Forgetting:
    def __init__(
        self,
        *,
        bus: ControllerBus,
        database: Database,
        ledger: Ledger,
        feed: FaultFeed,
        inventory: Inventory,
        watch: HostWatch,
    ) -> None:
        self._bus = bus
        self._database = database
        self._ledger = ledger
        self._feed = feed
        self._inventory = inventory
        self._watch = watch

    async def forget(self, host: str) -> int:
        """Returns how many faults it ended with that. What a crash cuts short can be said again.

        Raises `UnknownHostError`, `HostAliveError`, `BusUnavailableError`, `DatabaseError`.
        """
        active = [
            change
            for change in await self._database.read(outages.active_faults)
            if change.host == host
        ]
        known = next((one for one in self._inventory.hosts() if one.host == host), None)
        if known is None and not active:
            raise UnknownHostError(f"no controller knows a host {host}")
        if known is not None and known.state == ONLINE:
            raise HostAliveError(f"the agent of {host} reports: stop it first")
        if not self._bus.connected:
            raise BusUnavailableError("no broker: other controllers would not hear of it")
        at = datetime.now(UTC)
        ended = [Arrived(_ended(change, at), at) for change in active]
        stored = await self._ledger.add(ended)
        await self._database.write(lambda connection: rows.forget_host(connection, host))
        self._feed.take_stored(stored)
        self.take(host)
        self._bus.tell_controllers(
            ControllerNews(controller=self._bus.name, changes=[], forgotten=[host])
        )
        _log.warning("host %s is forgotten, as an operator said; %d faults end", host, len(stored))
        return len(stored)

    def take(self, host: str) -> None:
        """Another controller was told so, or this one."""
        self._watch.left(host)
        self._inventory.forget(host)


def _ended(change: FaultChange, at: datetime) -> FaultChange:
    return structs.replace(
        change,
        status=FaultStatus.CLEARED,
        cleared_at=iso(at),
        detail="an operator said that its host never returns",
        stages_ms={"detected": 0.0},
    )
