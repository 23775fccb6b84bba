"""The faults and what each sink still has to be told: the asynchronous door to their tables."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import Connection

from reachthru.controller_server.model import Fault, ms_since
from reachthru.controller_server.store import deliveries as claims
from reachthru.controller_server.store import latecomers, retention
from reachthru.controller_server.store.bulk import Update
from reachthru.controller_server.store.changes import (
    Added,
    Arrived,
    Room,
    Stored,
    add_changes,
    changed_at,
)
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.deliveries import Backlog, Claimer, Outcome
from reachthru.controller_server.store.leases import hold_lease
from reachthru.controller_server.store.outages import Loss, correlate, lose_hosts
from reachthru.controller_server.store.queries import (
    FaultFilter,
    Pending,
    list_changes,
    list_faults,
    list_pending,
)
from reachthru.controller_server.store.retention import Forgotten
from reachthru.controller_server.store.tables import fault_changes
from reachthru.controller_server.store.tail import list_ids
from reachthru.protocol.faults import FaultStatus

Settled = tuple[Claimer, Sequence[Outcome]]

WRITTEN_KEPT = 2_000  # changes: more than all workers of a controller hold


class Taker(Protocol):
    """Who tells a sink what is due; a delivery's worker."""

    claimer: Claimer

    def room_for_new(self) -> int:
        """How many changes that are new it would take now; 0 while older ones may wait."""

    def take(self, claimed: list[Pending], *, began: float, more: bool) -> None:
        """These are its own since `began`, monotonic; there may be `more` that is due."""


class Ledger:
    """`owner` is this controller's name, of no other that is alive. `suppressed` counts the changes
    that were added and of which a sink is not told, by sink. Every method raises `DatabaseError`.
    """

    def __init__(self, database: Database, sinks: Collection[str], owner: str) -> None:
        self._database = database
        self._sinks = tuple(sinks)
        self._owner = owner
        # When a change was committed is known only afterwards: it is written with what comes next.
        self._stored_ms: dict[int, float] = {}
        # What was read before it was written, and is told after that, needs it still.
        self._written_ms: dict[int, float] = {}
        self._writes_stored_ms = False
        self._takers: list[Taker] = []
        self.suppressed: Counter[str] = Counter()
        self._settled: list[Settled] = []  # to be written with what else comes at this moment
        self._settling: asyncio.Task[dict[str, list[Pending] | DatabaseError]] | None = None

    def deliver_to(self, taker: Taker) -> None:
        """From now on, what is added is claimed for `taker` in the same transaction."""
        self._takers.append(taker)

    async def add(self, arrived: Sequence[Arrived]) -> list[Stored]:
        """Returns, once they are committed, those that were new."""
        began = time.monotonic()
        rooms = [Room(taker.claimer, taker.room_for_new()) for taker in self._takers]

        def operation(connection: Connection) -> tuple[Added, dict[str, list[Pending]]]:
            added = add_changes(connection, arrived, self._sinks, rooms)
            correlate(connection, added.stored)
            return added, list_pending(connection, added.claimed, {})

        added, claimed = await self._database.write(operation)
        self._note_stored(added.stored)
        self._count_held(added)
        for taker in self._takers:
            sink = taker.claimer.sink
            taker.take(claimed.get(sink, []), began=began, more=sink in added.unclaimed)
        return added.stored

    def stage(self, change_id: int) -> dict[str, float]:
        """When the change was committed, for its `stages_ms`, where it was read without that."""
        stored_ms = self._stored_ms.get(change_id, self._written_ms.get(change_id))
        return {} if stored_ms is None else {"stored": stored_ms}

    def _count_held(self, added: Added) -> None:
        if added.held:
            self.suppressed.update(dict.fromkeys(self._sinks, added.held))

    def _note_stored(self, stored: Sequence[Stored]) -> None:
        now = datetime.now(UTC)
        for item in stored:
            stored_ms = ms_since(changed_at(item.change), now)
            if stored_ms is not None:
                self._stored_ms[item.id] = stored_ms

    async def faults(self, wanted: FaultFilter) -> list[Fault]:
        stored_ms = dict(self._stored_ms)
        return await self._database.read(lambda c: list_faults(c, wanted, stored_ms))

    async def lose_hosts(self, losses: Sequence[Loss], leader: str) -> list[Stored]:
        """Raises a `host_lost` for each that has none, if `leader` still leads."""

        def operation(connection: Connection) -> Added:
            if not hold_lease(connection, leader):
                return Added([], {}, set())
            return lose_hosts(connection, losses, self._sinks)

        added = await self._database.write(operation)
        self._count_held(added)
        for taker in self._takers if added.stored else ():
            taker.take([], began=time.monotonic(), more=True)
        return added.stored

    async def as_of(self, keys: Sequence[tuple[str, FaultStatus]]) -> list[Fault]:
        """Each fault as of one of its changes (fault id, status), in the order of arrival."""
        stored_ms = dict(self._stored_ms)
        return await self._database.read(lambda c: list_changes(c, list_ids(c, keys), stored_ms))

    def claimer(self, sink: str, ttl_s: float) -> Claimer:
        """This controller's worker for `sink`."""
        return Claimer(sink, self._owner, ttl_s)

    async def claim(self, claimer: Claimer, limit: int) -> list[Pending]:
        """Up to `limit` changes that are due, each of another lane, in the order of arrival."""
        if limit < 1:
            return []
        stored_ms = dict(self._stored_ms)

        def operation(connection: Connection) -> list[Pending]:
            ids = claims.claim(connection, claimer, limit)
            return list_pending(connection, {claimer.sink: ids}, stored_ms)[claimer.sink]

        return await self._database.write(operation, last=True)

    async def settle(self, claimer: Claimer, outcomes: Sequence[Outcome]) -> list[Pending]:
        """Writes outcomes down; returns what is next in the lanes that may go on, claimed.

        What several sinks' workers bring at the same moment is written together.
        """
        if not self._settled:
            self._settling = asyncio.create_task(self._settle_all(), name="outcomes")
        self._settled.append((claimer, outcomes))
        assert self._settling is not None
        following = (await asyncio.shield(self._settling))[claimer.sink]
        if isinstance(following, DatabaseError):
            raise following
        return following

    async def _settle_all(self) -> dict[str, list[Pending] | DatabaseError]:
        """By sink. One's outcome that no database would take does not hold up other sinks'."""
        settled, self._settled = self._settled, []
        try:
            return dict(await self._write_outcomes(settled))
        except DatabaseError as error:
            if not error.of_data or len(settled) == 1:
                return dict.fromkeys((claimer.sink for claimer, _ in settled), error)
        alone: dict[str, list[Pending] | DatabaseError] = {}
        for one in settled:
            try:
                alone |= await self._write_outcomes([one])
            except DatabaseError as error:
                alone[one[0].sink] = error
        return alone

    async def _write_outcomes(self, settled: Sequence[Settled]) -> dict[str, list[Pending]]:
        stored_ms = dict(self._stored_ms)
        carried = {} if self._writes_stored_ms else stored_ms  # by one transaction at a time

        def operation(connection: Connection) -> dict[str, list[Pending]]:
            _write_stored_ms(connection, carried)
            ids = claims.settle(connection, settled)
            everybody: dict[str, list[int]] = {claimer.sink: [] for claimer, _ in settled}
            return list_pending(connection, everybody | ids, stored_ms)

        if not carried:
            return await self._database.write(operation)
        self._writes_stored_ms = True
        try:
            following = await self._database.write(operation)
        finally:
            self._writes_stored_ms = False
        for change_id, ms in carried.items():
            self._written_ms[change_id] = ms
            del self._stored_ms[change_id]
        for change_id in list(self._written_ms)[:-WRITTEN_KEPT]:
            del self._written_ms[change_id]
        return following

    async def give_back(self, claimer: Claimer, change_ids: Collection[int] | None = None) -> None:
        """Ends claims before their time; None: all of this worker's."""
        # Last, as claims are: behind one that nobody waits for any more.
        await self._database.write(lambda c: claims.give_back(c, claimer, change_ids), last=True)

    async def wake_resting(self, sink: str) -> None:
        """The sink takes faults again: what failed is due at once."""
        await self._database.write(lambda c: claims.wake_resting(c, sink))

    async def repeat_active(self, sink: str, after_id: int, limit: int) -> tuple[int, int | None]:
        """See `deliveries.repeat_active`."""
        return await self._database.write(
            lambda c: claims.repeat_active(c, sink, after_id, limit), last=True
        )

    async def catch_up(self, sink: str, limit: int, cleared_within_s: float | None) -> int:
        """See `latecomers.catch_up`."""
        return await self._database.write(
            lambda c: latecomers.catch_up(c, sink, limit, cleared_within_s), last=True
        )

    async def count_cleared(self) -> int:
        return await self._database.read(retention.count_cleared)

    async def forget_cleared(self, after_id: int, limit: int, older_than_s: float) -> Forgotten:
        """See `retention.forget_cleared`."""
        return await self._database.write(
            lambda c: retention.forget_cleared(c, self._sinks, after_id, limit, older_than_s),
            last=True,
        )

    async def backlog(self) -> dict[str, Backlog]:
        """By sink; one that was told everything may be missing."""
        return await self._database.read(claims.count_pending)


_WRITE_STORED_MS = Update(fault_changes, ["id"], ["stored_ms"])


def _write_stored_ms(connection: Connection, stored_ms: dict[int, float]) -> None:
    _WRITE_STORED_MS.execute(
        connection, [{"id": id, "stored_ms": ms} for id, ms in stored_ms.items()]
    )
