"""What the leading controller does for all: old history goes, and what is active is repeated.

A sink that was enabled late hears of what was active before, as soon as somebody leads who has it.

Sinks that ask for it (`reconcile_s`) hear of every active fault again and again, as deliveries
like any other: a consumer that lost one, or said yes and forgot, is right again after that.
"""

import logging
import time
from collections.abc import Callable, Sequence

from reachthru.controller_server.sinks.base import Sink
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.ledger import Ledger

# Few enough that what is new does not wait long behind what is repeated.
REPEAT_LIMIT = 100  # faults, a sink and a tick
RETENTION_S = 60.0
# During a restart one by one, controllers that don't have a new sink yet store changes without it.
CATCH_UP_S = 60.0
CATCH_UP_AGAIN_S = 3600.0  # how far it then looks back
CATCH_UP_LIMIT = 500  # faults in one transaction
FORGET_LIMIT = 200  # faults in one transaction
ROOM_LIMIT = 200  # faults that go at once when the database is full
DAY_S = 86_400.0

_log = logging.getLogger(__name__)


class Upkeep:
    """`leads` says whether this controller is the one.

    `on_forgotten` counts (reason, faults); `on_repeats` is called when there is something new to
    deliver.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        sinks: Sequence[Sink],
        *,
        keep_cleared_days: float,
        max_cleared_faults: int,
        leads: Callable[[], bool],
        on_forgotten: Callable[[str, int], None],
        on_repeats: Callable[[], None],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._keep_cleared_s = keep_cleared_days * DAY_S
        self._max_cleared_faults = max_cleared_faults
        self._leads = leads
        self._on_forgotten = on_forgotten
        self._on_repeats = on_repeats
        now = time.monotonic()
        self._rounds = [_Round(sink, now) for sink in sinks if sink.reconcile_s is not None]
        self._retention_at = now
        self._sinks = sinks
        self._catch_up_at: float | None = None  # None: not since we lead
        self._undelivered_said = False

    async def turn(self, now: float) -> None:
        """What is due at `now`, for each second. Raises `DatabaseError`."""
        if self._database.full:  # nobody can lead then: the lease has to be written, too
            await self._make_room()
        if not self._leads():
            for going in self._rounds:
                going.postpone(now)
            self._catch_up_at = None
            return
        if self._catch_up_at is None or now >= self._catch_up_at:
            await self._catch_up(None if self._catch_up_at is None else CATCH_UP_AGAIN_S)
            self._catch_up_at = now + CATCH_UP_S
        for going in self._rounds:
            if now >= going.next_at:
                await self._repeat(going, now)
        if now >= self._retention_at:
            self._retention_at = now + RETENTION_S
            await self._forget()

    async def _catch_up(self, cleared_within_s: float | None) -> None:
        for sink in self._sinks:
            made, more = 0, CATCH_UP_LIMIT
            while more == CATCH_UP_LIMIT:
                more = await self._ledger.catch_up(sink.name, CATCH_UP_LIMIT, cleared_within_s)
                made += more
            if made:
                _log.info("sink %s: %d faults are told that it had missed", sink.name, made)
                self._on_repeats()

    async def _repeat(self, going: "_Round", now: float) -> None:
        told, after_id = await self._ledger.repeat_active(
            going.sink.name, going.after_id, REPEAT_LIMIT
        )
        going.told += told
        if told:
            self._on_repeats()
        if after_id is not None:
            going.after_id = after_id
            return
        if going.told:
            _log.info("sink %s: %d active faults are repeated", going.sink.name, going.told)
        going.postpone(now)

    async def _forget(self) -> None:
        await self._forget_old()
        excess = await self._ledger.count_cleared() - self._max_cleared_faults
        if excess <= 0:
            self._undelivered_said = False
            return
        forgotten = await self._forget_some("excess", excess, 0.0)
        if forgotten:
            _log.warning(
                "%d cleared faults are forgotten: there are more than [database]"
                " max_cleared_faults = %d",
                forgotten,
                self._max_cleared_faults,
            )
        if forgotten < excess and not self._undelivered_said:
            self._undelivered_said = True
            _log.error(
                "%d cleared faults above [database] max_cleared_faults = %d are kept: a sink was"
                " not told of them yet",
                excess - forgotten,
                self._max_cleared_faults,
            )

    async def _forget_old(self) -> None:
        forgotten = await self._forget_some("age", None, self._keep_cleared_s)
        if forgotten:
            _log.info(
                "%d cleared faults are forgotten: older than [database] keep_cleared_days = %g",
                forgotten,
                self._keep_cleared_s / DAY_S,
            )

    async def _make_room(self) -> None:
        forgotten = await self._forget_some("full", ROOM_LIMIT, 0.0)
        if forgotten:
            _log.warning("the database is full: the %d oldest cleared faults are gone", forgotten)

    async def _forget_some(self, reason: str, most: int | None, older_than_s: float) -> int:
        """Returns how many, at most `most`."""
        total, after_id = 0, 0
        while most is None or total < most:
            limit = FORGET_LIMIT if most is None else min(FORGET_LIMIT, most - total)
            forgotten = await self._ledger.forget_cleared(after_id, limit, older_than_s)
            if forgotten.faults:
                total += forgotten.faults
                self._on_forgotten(reason, forgotten.faults)
            if forgotten.after_id is None:
                break
            after_id = forgotten.after_id
        return total


class _Round:
    """How far the repeating of active faults to one sink has come."""

    def __init__(self, sink: Sink, now: float) -> None:
        self.sink = sink
        self.postpone(now)

    def postpone(self, now: float) -> None:
        """The next round is a whole interval ahead."""
        assert self.sink.reconcile_s is not None
        self.next_at = now + self.sink.reconcile_s
        self.after_id = 0
        self.told = 0
