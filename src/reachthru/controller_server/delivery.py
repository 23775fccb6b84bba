"""Telling one sink: in order for each instance, and nobody waits for somebody else's failure.

Changes wait in lanes, one an instance. A lane has at most one change on its way; when that one
fails the lane rests, longer each time, while the others go on. A sink that fails whatever it is
told is probed with one change at a time, and once it says yes every lane goes on at once.

What waits here is a window on the database, which holds the truth: whatever is pending there
comes back after a restart.
"""

import asyncio
import contextlib
import heapq
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from reachthru.controller_server.model import iso, ms_since
from reachthru.controller_server.sinks.base import RefusedError, Sink
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.ledger import Ledger, Outcome
from reachthru.controller_server.store.queries import Pending, PendingFilter
from reachthru.controller_server.store.tables import DONE, FAILED, PENDING

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
# When it said no to so many instances and yes to none, it is the sink that fails. Below the
# concurrency of a sink, so that a few instances' failures never take all of its slots.
FAILING_LANES_OF_A_SINK = 5
WINDOW_LIMIT = 5_000  # changes in memory
LANE_LIMIT = 100  # of them, of one instance
PULL_LIMIT = 500  # changes in one query
DATABASE_RETRY_S = 1.0

_chance = random.SystemRandom()
_log = logging.getLogger(__name__)


def backoff_s(attempts: int, chance: float) -> float:
    """How long to rest after so many failures; `chance` is 0 to 1 and takes off up to half."""
    longest: float = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(attempts - 1, 16))
    return longest * (1 - chance / 2)


@dataclass(eq=False, slots=True)
class _Lane:
    """One instance's changes, oldest first; the first is on its way, resting, or next."""

    name: str
    changes: deque[Pending] = field(default_factory=deque)
    last_id: int = 0  # of the youngest change that was ever here
    spilled: bool = False  # the database has more than fits here


class DeliveryWorker:
    """Tells `sink` everything that is pending for it, until cancelled.

    `on_outcome` is called with each attempt's outcome.
    """

    def __init__(self, sink: Sink, ledger: Ledger, on_outcome: Callable[[Outcome], None]) -> None:
        self._sink = sink
        self._ledger = ledger
        self._on_outcome = on_outcome
        self._lanes: dict[str, _Lane] = {}  # those that hold changes
        self._ready: deque[_Lane] = deque()
        self._resting: list[tuple[float, int, _Lane]] = []  # a heap by monotonic time
        self._drained: deque[_Lane] = deque()  # empty, and the database has more
        self._waiting = 0
        self._last_pulled_id = 0
        self._more = True  # there may be more in the database
        self._failing: set[str] = set()  # lanes, since the last yes
        self._wake = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There is something new in the database."""
        self._more = True
        self._wake.set()

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                await self._pull()
                rest_s = self._send_what_is_due()
                if self._drained or (self._more and self._waiting < WINDOW_LIMIT):
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rest_s):
                        await self._wake.wait()
        finally:
            for sending in self._sending:
                sending.cancel()

    async def _pull(self) -> None:
        try:
            # One after the other: what one of the two leaves to the other must not fall between.
            if self._drained:
                await self._refill(self._drained[0])
                self._drained.popleft()
            if self._more and self._waiting < WINDOW_LIMIT:
                await self._pull_every_lane()
        except DatabaseError as error:
            _log.error("sink %s: %s; trying again", self._sink.name, error)
            self._more = True
            await asyncio.sleep(DATABASE_RETRY_S)

    async def _pull_every_lane(self) -> None:
        self._more = False
        found = await self._ledger.pending(
            PendingFilter(sink=self._sink.name, after_id=self._last_pulled_id, limit=PULL_LIMIT)
        )
        self._more = self._more or len(found) == PULL_LIMIT
        for pending in found:
            self._last_pulled_id = pending.change_id
            lane = self._lanes.get(pending.lane)
            if lane is None:
                lane = self._lanes[pending.lane] = _Lane(pending.lane)
                self._ready.append(lane)
            if len(lane.changes) >= LANE_LIMIT:
                lane.spilled = True
            if not lane.spilled and pending.change_id > lane.last_id:
                self._put(lane, pending)

    async def _refill(self, lane: _Lane) -> None:
        found = await self._ledger.pending(
            PendingFilter(
                sink=self._sink.name, after_id=lane.last_id, limit=LANE_LIMIT, lane=lane.name
            )
        )
        lane.spilled = len(found) == LANE_LIMIT
        for pending in found:
            self._put(lane, pending)
        self._go_on(lane)

    def _put(self, lane: _Lane, pending: Pending) -> None:
        lane.changes.append(pending)
        lane.last_id = pending.change_id
        self._waiting += 1

    def _go_on(self, lane: _Lane) -> None:
        """Nothing of the lane is on its way: what is next?"""
        if lane.changes:
            self._ready.append(lane)
        elif lane.spilled:
            self._drained.append(lane)
        else:
            del self._lanes[lane.name]

    def _send_what_is_due(self) -> float | None:
        """Starts what may start. Returns how many seconds the next lane still rests."""
        now = time.monotonic()
        while self._resting and self._resting[0][0] <= now:
            self._ready.append(heapq.heappop(self._resting)[2])
        slots = 1 if self._sink_fails else self._sink.concurrency
        while self._ready and len(self._sending) < slots:
            lane = self._ready.popleft()
            sending = asyncio.create_task(self._send(lane, lane.changes[0]))
            self._sending.add(sending)
            sending.add_done_callback(self._sent)
        return self._resting[0][0] - now if self._resting else None

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._sending.discard(sending)
        self._wake.set()

    async def _send(self, lane: _Lane, pending: Pending) -> None:
        pending.attempts += 1
        try:
            async with asyncio.timeout(self._sink.timeout_s):
                await self._sink.deliver(pending.fault)
        except RefusedError as error:
            _log.error("sink %s: fault %s: %s; given up", self._sink.name, pending.fault.id, error)
            self._end(lane, pending, FAILED, error=str(error))
        except Exception as error:
            self._rest(lane, pending, error)
        else:
            self._end(lane, pending, DONE)

    def _end(self, lane: _Lane, pending: Pending, state: str, error: str | None = None) -> None:
        """The sink said yes, or no for ever; either way it is alive."""
        done_ms = ms_since(pending.fault.changed_at, datetime.now(UTC)) if error is None else None
        self._report(pending, state, last_error=error, done_ms=done_ms)
        lane.changes.popleft()
        self._waiting -= 1
        self._go_on(lane)
        if self._sink_fails:
            _log.warning("sink %s: it takes faults again", self._sink.name)
            self._ready.extend(resting for _until, _number, resting in self._resting)
            self._resting.clear()
        self._failing.clear()

    @property
    def _sink_fails(self) -> bool:
        return len(self._failing) >= FAILING_LANES_OF_A_SINK

    def _rest(self, lane: _Lane, pending: Pending, error: Exception) -> None:
        rest_s = backoff_s(pending.attempts, _chance.random())
        why = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            why = f"no answer within {self._sink.timeout_s:g} s"
        if not self._sink_fails:
            _log.warning(
                "sink %s: fault %s: %s; attempt %d, again in %.1f s",
                self._sink.name,
                pending.fault.id,
                why,
                pending.attempts,
                rest_s,
            )
            self._failing.add(lane.name)
            if self._sink_fails:
                _log.error(
                    "sink %s: it takes nothing; now one change at a time tries it", self._sink.name
                )
        again_at = iso(datetime.now(UTC) + timedelta(seconds=rest_s))
        self._report(pending, PENDING, last_error=why, next_attempt_at=again_at)
        entry = (time.monotonic() + rest_s, pending.change_id, lane)
        heapq.heappush(self._resting, entry)

    def _report(
        self,
        pending: Pending,
        state: str,
        *,
        last_error: str | None = None,
        next_attempt_at: str | None = None,
        done_ms: float | None = None,
    ) -> None:
        outcome = Outcome(
            change_id=pending.change_id,
            sink=self._sink.name,
            state=state,
            attempts=pending.attempts,
            next_attempt_at=next_attempt_at,
            last_error=last_error,
            done_ms=done_ms,
        )
        self._ledger.record(outcome)
        self._on_outcome(outcome)
