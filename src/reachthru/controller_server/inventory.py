"""Who is there: hosts and instances, from agents' reports and last wills."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

from reachthru.bus import BusUnavailableError, ControllerBus
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.model import Host, Instance, iso
from reachthru.controller_server.store import inventory, queries
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.tables import ONLINE
from reachthru.protocol.agent_bus import AgentOffline, AgentReport, ReportRequest

# After a connection to the broker, an agent that is there has reported within this: it may
# itself still be reconnecting, at most 5 s apart.
ROLL_CALL_S = 15.0

_log = logging.getLogger(__name__)


class Inventory:
    """Every coroutine raises `DatabaseError`."""

    def __init__(self, database: Database, bus: ControllerBus, events: EventHub) -> None:
        self._database = database
        self._bus = bus
        self._events = events
        self._heard: set[str] = set()  # since the last roll call

    async def hosts(self) -> list[Host]:
        return await self._database.read(queries.list_hosts)

    async def instances(self, uuid: str | None = None) -> list[Instance]:
        return await self._database.read(lambda c: queries.list_instances(c, uuid))

    async def take_report(self, report: AgentReport) -> None:
        self._heard.add(report.host)
        at = iso(datetime.now(UTC))
        changes = await self._database.write(lambda c: inventory.apply_report(c, report, at))
        if changes.host is not None:
            self._events.publish("host", changes.host)
        for instance in changes.instances:
            self._events.publish("instance", instance)

    async def take_offline(self, word: AgentOffline) -> None:
        """An agent's goodbye, or its last will."""
        host = await self._database.write(lambda c: inventory.set_offline(c, word.host))
        if host is None:
            return
        self._events.publish("host", host)
        if word.clean:
            _log.info("host %s: its agent said goodbye", word.host)
            return
        _log.warning("host %s: its agent is gone without a word", word.host)
        # The will may be that of a connection which the agent has replaced by now: then this
        # finds it alive.
        with contextlib.suppress(BusUnavailableError):
            await self._bus.send(word.host, ReportRequest())

    async def call_the_roll(self) -> None:
        """Asks every agent for a report; who sends none within `ROLL_CALL_S` is offline.

        For whenever this controller was deaf: wills that were published meanwhile are lost.
        """
        self._heard.clear()
        with contextlib.suppress(BusUnavailableError):  # the next connection calls again
            await self._bus.send_to_all(ReportRequest())
            await asyncio.sleep(ROLL_CALL_S)
            for host in await self.hosts():
                if host.state == ONLINE and host.host not in self._heard:
                    await self.take_offline(AgentOffline(host=host.host, clean=False))
