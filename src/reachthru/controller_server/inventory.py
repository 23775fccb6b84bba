"""Who is there: hosts and instances, from agents' reports and last wills.

Every controller hears them and keeps them in memory; the one that leads writes down what is new:
most of what agents say is that nothing has changed, and to write that would keep a leader busy with
some hundred hosts. Where the database missed something, it is asked for again.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from msgspec import structs
from sqlalchemy import Connection

from reachthru.bus import BusUnavailableError, ControllerBus
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.groups.census import Census, Changes, Removed
from reachthru.controller_server.model import Host, Instance, iso, ms_since, utc
from reachthru.controller_server.round_trips import RoundTrip, RoundTrips
from reachthru.controller_server.store import inventory
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.tables import OFFLINE, ONLINE
from reachthru.protocol.agent_bus import AgentOffline, AgentReport, ReportRequest
from reachthru.protocol.faults import FaultKind

# After a connection to the broker, an agent that is there has reported within this: it may
# itself still be reconnecting, at most 5 s apart.
ROLL_CALL_S = 15.0
WAITING_LIMIT = 5_000  # words that wait for the database
BATCH_LIMIT = 200  # words in one transaction

Operation = Callable[[Connection], None]
_log = logging.getLogger(__name__)


class Inventory:
    """`leads` says whether this controller is the one that writes."""

    def __init__(
        self,
        database: Database,
        bus: ControllerBus,
        census: Census,
        events: EventHub,
        leads: Callable[[], bool],
    ) -> None:
        self._database = database
        self._bus = bus
        self._census = census
        self._events = events
        self._leads = leads
        self._round_trips = RoundTrips()
        self._heard: set[str] = set()  # since the last roll call
        self._waiting: asyncio.Queue[tuple[str, Operation]] = asyncio.Queue(WAITING_LIMIT)
        self._missed: set[str] = set()  # hosts of which something was not written down

    async def load(self) -> set[str]:
        """What an earlier controller knew, so that its end is no news. Raises `DatabaseError`.

        Returns the hosts that said goodbye.
        """
        hosts, gone = await self._database.read(inventory.load_hosts)
        self._census.load(hosts, await self._database.read(inventory.load_instances))
        return gone

    def hosts(self) -> list[Host]:
        return self._census.hosts()

    def instances(self) -> list[Instance]:
        return self._census.instances()

    def instance(self, uuid: str) -> Instance | None:
        return self._census.instance(uuid)

    @property
    def revision(self) -> int:
        """Grows with each news."""
        return self._census.revision

    def active_faults(self, uuid: str) -> list[FaultKind]:
        return self._census.faults(uuid)

    def active_kinds(self) -> Counter[FaultKind]:
        """How many faults are raised now, of instances and of hosts that are lost."""
        return self._census.kinds()

    def round_trips(self, uuid: str) -> list[RoundTrip]:
        """The oldest first."""
        return self._round_trips.of(uuid)

    def last_round_trip_ms(self, uuid: str) -> float | None:
        return self._round_trips.last_ms(uuid)

    def take_report(self, report: AgentReport) -> Changes:
        self._heard.add(report.host)
        now = datetime.now(UTC)
        behind_ms = ms_since(report.sent_at, now)
        changes = self._census.take_report(report, None if behind_ms is None else -behind_ms)
        self._take_round_trips(report, changes)
        if changes.host is not None:
            self._events.publish("host", changes.host)
        for instance in changes.instances:
            self._events.publish("instance", instance)
        at = iso(now)
        news = {instance.uuid for instance in changes.instances}
        named = [seen for seen in report.instances if report.full or seen.uuid in news]
        written = structs.replace(report, instances=named)
        self._write(report.host, lambda c: inventory.store_report(c, written, at))
        return changes

    def _take_round_trips(self, report: AgentReport, changes: Changes) -> None:
        # By the agent's clock: so it is the same at every controller.
        at_s = (utc(report.sent_at) or datetime.now(UTC)).timestamp()
        for seen in report.instances:
            if seen.round_trip_ms is not None:
                self._round_trips.add(seen.uuid, at_s, seen.round_trip_ms)
        self._forget_round_trips(changes.instances)

    def _forget_round_trips(self, changed: Iterable[Instance | Removed]) -> None:
        for item in changed:
            if isinstance(item, Removed) and not self._census.is_carried(item.uuid):
                self._round_trips.forget(item.uuid)

    def take_offline(self, word: AgentOffline) -> None:
        """An agent's goodbye, or its last will."""
        self.set_offline(word.host, said_goodbye=word.clean)
        if word.clean:
            _log.info("host %s: its agent said goodbye", word.host)
            return
        _log.warning("host %s: its agent is gone without a word", word.host)
        # The will may be that of a connection which the agent has replaced by now: then this
        # finds it alive.
        if self._leads():
            self._bus.offer(word.host, ReportRequest())

    def set_offline(self, host: str, *, said_goodbye: bool = False) -> None:
        changed = self._census.take_offline(host)
        if changed is not None:
            self._events.publish("host", changed)
        self._write(host, lambda c: inventory.store_offline(c, host, said_goodbye=said_goodbye))

    def forget(self, host: str) -> None:
        """It never returns."""
        gone = self._census.forget(host, iso(datetime.now(UTC)))
        self._forget_round_trips(gone)
        for removed in gone:
            self._events.publish("instance", removed)

    async def call_the_roll(self) -> None:
        """Asks every agent for a report; who sends none within `ROLL_CALL_S` is offline.

        For whenever this controller was deaf: wills that were published meanwhile are lost.
        """
        self._heard.clear()
        with contextlib.suppress(BusUnavailableError):  # the next connection calls again
            await self._bus.send_to_all(ReportRequest())
            await asyncio.sleep(ROLL_CALL_S)
            for host in self.hosts():
                if host.state == ONLINE and host.host not in self._heard:
                    _log.warning("host %s: its agent missed the roll call", host.host)
                    self.set_offline(host.host)

    async def take_over(self) -> None:
        """The leader before us may not have written down everything that we have heard."""
        for host in self.hosts():
            if host.state == OFFLINE:
                self.set_offline(host.host)
        with contextlib.suppress(BusUnavailableError):  # the next connection calls the roll
            await self._bus.send_to_all(ReportRequest())

    # --- into the database -------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            words = [await self._waiting.get()]
            while not self._waiting.empty() and len(words) < BATCH_LIMIT:
                words.append(self._waiting.get_nowait())
            if self._leads():
                await self._store(words)

    def _write(self, host: str, operation: Operation) -> None:
        if not self._leads():
            return
        if self._waiting.full():
            self._missed.add(host)
            _log.error("host %s: its report is not stored: the database is too slow", host)
            return
        self._waiting.put_nowait((host, operation))

    async def _store(self, words: list[tuple[str, Operation]]) -> None:
        """What fails is not repeated: full reports are asked for when the database is back."""

        def store_all(connection: Connection) -> None:
            for _host, operation in words:
                operation(connection)

        try:
            await self._database.write(store_all)
            missed, self._missed = self._missed, set()
            for host in missed:
                self._bus.offer(host, ReportRequest())
        except DatabaseError as error:
            if error.of_data and len(words) > 1:  # one of them is to blame
                for word in words:
                    await self._store([word])
            else:
                if not error.of_data:  # or it would be asked for the same again
                    self._missed.update(host for host, _operation in words)
                _log.error("host %s: its report is not stored: %s", words[0][0], error)
