"""The faults and what each sink still has to be told: the asynchronous door to their tables."""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from msgspec import Struct
from sqlalchemy import Connection, bindparam, update

from reachthru.controller_server.model import Fault, ms_since
from reachthru.controller_server.store.changes import Arrived, Stored, add_changes, changed_at
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.leases import hold_lease
from reachthru.controller_server.store.outages import Loss, correlate, lose_hosts
from reachthru.controller_server.store.queries import (
    FaultFilter,
    Pending,
    PendingFilter,
    count_pending,
    list_changes,
    list_faults,
    list_pending,
)
from reachthru.controller_server.store.tables import deliveries, fault_changes
from reachthru.controller_server.store.tail import list_ids
from reachthru.protocol.faults import FaultStatus

RETRY_S = 1.0
# Outcomes gather for so long: a commit for each costs more than a delivery does, and what a crash
# loses of them is only delivered once more.
GATHER_S = 0.05
_log = logging.getLogger(__name__)


class Outcome(Struct, frozen=True, kw_only=True):
    """How one attempt to tell a sink ended. `state`: pending (there will be another), done, failed.

    `done_ms` is milliseconds from detection to the sink's yes.
    """

    change_id: int
    sink: str
    state: str
    attempts: int
    next_attempt_at: str | None = None
    last_error: str | None = None
    done_ms: float | None = None


class Ledger:
    """Every method raises `DatabaseError`, except `record`."""

    def __init__(self, database: Database, sinks: Collection[str]) -> None:
        self._database = database
        self._sinks = tuple(sinks)
        # When a change was committed is known only afterwards: it is written with what comes next.
        self._stored_ms: dict[int, float] = {}
        self._outcomes: list[Outcome] = []
        self._recorder: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def add(self, arrived: Sequence[Arrived]) -> list[Stored]:
        """Returns, once they are committed, those that were new."""

        def operation(connection: Connection) -> list[Stored]:
            stored = add_changes(connection, arrived, self._sinks)
            correlate(connection, stored)
            return stored

        stored = await self._database.write(operation)
        now = datetime.now(UTC)
        for item in stored:
            stored_ms = ms_since(changed_at(item.change), now)
            if stored_ms is not None:
                self._stored_ms[item.id] = stored_ms
        return stored

    async def faults(self, wanted: FaultFilter) -> list[Fault]:
        stored_ms = dict(self._stored_ms)
        return await self._database.read(lambda c: list_faults(c, wanted, stored_ms))

    async def lose_hosts(self, losses: Sequence[Loss], leader: str) -> list[Stored]:
        """Raises a `host_lost` for each that has none, if `leader` still leads."""

        def operation(connection: Connection) -> list[Stored]:
            if not hold_lease(connection, leader):
                return []
            return lose_hosts(connection, losses, self._sinks)

        return await self._database.write(operation)

    async def as_of(self, keys: Sequence[tuple[str, FaultStatus]]) -> list[Fault]:
        """Each fault as of one of its changes (fault id, status), in the order of arrival."""
        stored_ms = dict(self._stored_ms)
        return await self._database.read(lambda c: list_changes(c, list_ids(c, keys), stored_ms))

    async def pending(self, wanted: PendingFilter) -> list[Pending]:
        """In the order of arrival."""
        stored_ms = dict(self._stored_ms)
        return await self._database.read(lambda c: list_pending(c, wanted, stored_ms))

    async def backlog(self) -> dict[str, int]:
        """How many changes each sink still has to be told; a sink with none may be missing."""
        return await self._database.read(count_pending)

    def record(self, outcome: Outcome) -> None:
        """Writes it soon, together with others. A delivery must not wait for the disk."""
        self._outcomes.append(outcome)
        if self._recorder is None or self._recorder.done():
            self._recorder = asyncio.create_task(self._record(), name="delivery outcomes")

    async def close(self) -> None:
        """After what was recorded is written, or could not be."""
        self._closing.set()
        if self._recorder is not None:
            await asyncio.wait((self._recorder,), timeout=RETRY_S)
            self._recorder.cancel()

    async def _record(self) -> None:
        while self._outcomes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._closing.wait()
            outcomes, self._outcomes = self._outcomes, []
            try:
                await self._write(outcomes, dict(self._stored_ms))
            except DatabaseError as error:
                _log.error("deliveries are not written down, trying again: %s", error)
                self._outcomes = outcomes + self._outcomes
                await asyncio.sleep(RETRY_S)

    async def _write(self, outcomes: Sequence[Outcome], stored_ms: dict[int, float]) -> None:
        await self._database.write(lambda c: _write_outcomes(c, outcomes, stored_ms))
        for change_id in stored_ms:
            del self._stored_ms[change_id]


def _write_outcomes(
    connection: Connection, outcomes: Sequence[Outcome], stored_ms: dict[int, float]
) -> None:
    if stored_ms:
        connection.execute(
            update(fault_changes)
            .where(fault_changes.c.id == bindparam("change"))
            .values(stored_ms=bindparam("new_stored_ms")),
            [{"change": id, "new_stored_ms": ms} for id, ms in stored_ms.items()],
        )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.change_id == bindparam("change"), deliveries.c.sink == bindparam("to"))
        .values(
            state=bindparam("new_state"),
            attempts=bindparam("new_attempts"),
            next_attempt_at=bindparam("new_next_attempt_at"),
            last_error=bindparam("new_last_error"),
            done_ms=bindparam("new_done_ms"),
        ),
        [
            {
                "change": outcome.change_id,
                "to": outcome.sink,
                "new_state": outcome.state,
                "new_attempts": outcome.attempts,
                "new_next_attempt_at": outcome.next_attempt_at,
                "new_last_error": outcome.last_error,
                "new_done_ms": outcome.done_ms,
            }
            for outcome in outcomes
        ],
    )
