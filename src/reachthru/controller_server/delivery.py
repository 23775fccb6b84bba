"""Telling one sink: in order for each instance, and nobody waits for somebody else's failure.

The database decides who tells what (store/deliveries.py): a worker claims changes that are due,
each the first of its lane, tells them, and writes down how it went; only then comes the lane's
next one. So a crash repeats what was on its way, never anything older.

A change that fails rests in the database, longer each time, for whichever controller comes by when
it is due. A sink that fails whatever it is told is probed with one change at a time, further and
further apart; once it says yes everything goes on at once.
"""

import asyncio
import contextlib
import heapq
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from reachthru.controller_server.model import iso, lane_of, ms_since
from reachthru.controller_server.sink_health import SinkHealth, backoff_s
from reachthru.controller_server.sinks.base import HeldError, RefusedError, Sink
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.deliveries import Outcome
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.queries import Pending
from reachthru.controller_server.store.tables import DONE, FAILED, PENDING
from reachthru.controller_server.trail import UNTRACED, Trail
from reachthru.telemetry.logs import about
from reachthru.telemetry.traces import now_ns

# A claim lasts for one attempt, and so long before it: what a dead controller held is told by
# another one when that is over.
CLAIM_MARGIN_S = 3.0
# Outcomes gather until the clock's next multiple of this, which is one for all sinks: what they end
# within it is one transaction. Where more waits to be told, perhaps behind one of them in its lane,
# they gather for less.
GATHER_S, HURRIED_GATHER_S = 0.050, 0.005
POLL_S = 1.0  # for what other controllers left, or gave back
AHEAD_MIN, AHEAD_MAX = 64, 500  # changes claimed at once, by a sink that is quick
DATABASE_RETRY_S = 1.0
GIVE_BACK_S = 1.0
FINISH_S = 0.4  # what is on its way at a stop mostly ends within it, and is not told twice

_chance = random.SystemRandom()
_log = logging.getLogger(__name__)


class _Claimed(NamedTuple):
    pending: Pending
    start_before: float  # monotonic: later, the claim would end before the attempt does


class DeliveryWorker:
    """Tells `sink` everything that is pending for it, until cancelled.

    `on_outcome` is called with each attempt's outcome, `trail` told of it.
    """

    def __init__(
        self,
        sink: Sink,
        ledger: Ledger,
        on_outcome: Callable[[Outcome], None],
        trail: Trail = UNTRACED,
    ) -> None:
        self._sink = sink
        self._ledger = ledger
        self._on_outcome = on_outcome
        self._trail = trail
        self._began_ns: dict[int, int] = {}  # attempts that are on their way, by change
        self.claimer = ledger.claimer(sink.name, sink.timeout_s + CLAIM_MARGIN_S)
        self._health = SinkHealth()
        self._ready: deque[_Claimed] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._late: list[int] = []  # claimed, and not started in time
        self._ahead = max(AHEAD_MIN, sink.concurrency * 2)
        self._look_at = 0.0  # monotonic: there may be something due in the database then
        self._resting: list[float] = []  # a heap of such times: what failed here
        self._left_alone_until = 0.0
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._runs = False
        ledger.deliver_to(self)

    @property
    def sink(self) -> str:
        return self._sink.name

    @property
    def sink_is_down(self) -> bool:
        """It takes nothing, and is only tried now and then."""
        return self._health.is_down

    def wake(self) -> None:
        """There is something new in the database."""
        self._look_at = 0.0
        self._hurry.set()
        self._wake.set()

    def room_for_new(self) -> int:
        return self._room() if self._look_at else 0

    def _room(self) -> int:
        held = len(self._ready) + len(self._sending)
        if not self._runs or time.monotonic() < self._left_alone_until:
            return 0
        if self._health.fails:
            return 0 if held else 1
        return self._ahead - held if len(self._ready) <= self._ahead // 2 else 0

    def take(self, claimed: list[Pending], *, began: float, more: bool) -> None:
        self._hold(claimed, began)
        self._start()
        if more:
            self.wake()

    async def run(self) -> None:
        self._runs = True
        try:
            while True:
                if self._outcomes:
                    await self._gather()
                self._wake.clear()
                if not await self._turn():
                    await asyncio.sleep(DATABASE_RETRY_S)
                    continue
                if self._wanted() or self._outcomes or self._late:
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rest_s()):
                        await self._wake.wait()
        finally:
            self._runs = False
            await asyncio.shield(self._stop())

    async def _gather(self) -> None:
        """Until outcomes are to be written down."""
        self._hurry.clear()
        if not self._look_at:
            await asyncio.sleep(HURRIED_GATHER_S - time.monotonic() % HURRIED_GATHER_S)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S - time.monotonic() % GATHER_S):
                await self._hurry.wait()

    async def _turn(self) -> bool:
        """Writes down what there is, claims what there is room for, and starts what may start."""
        outcomes, self._outcomes = self._outcomes, []
        late, self._late = self._late, []
        wanted = self._wanted()
        began = time.monotonic()
        following, found, given_back = await asyncio.gather(
            self._settle(outcomes),
            self._claim(wanted),
            self._give_back(late),
            return_exceptions=True,
        )
        if isinstance(following, BaseException):
            self._outcomes = outcomes + self._outcomes
        else:
            self._hold(following, began)
        if isinstance(found, BaseException):
            self._look_at = 0.0
        elif wanted:
            self._hold(found, began)
            self._look_again(in_haste=len(found) == wanted)
        if isinstance(given_back, BaseException):
            self._late = late + self._late
        self._start()
        for outcome in (following, found, given_back):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, DatabaseError):
                    raise outcome
                return False  # the database itself says so, once
        return True

    def _hold(self, claimed: list[Pending], began: float) -> None:
        self._ready.extend(_Claimed(pending, began + CLAIM_MARGIN_S) for pending in claimed)

    def _look_again(self, in_haste: bool) -> None:
        """When to ask for more, after an answer that was all we wanted (`in_haste`) or less."""
        now = time.monotonic()
        if in_haste:
            self._look_at = 0.0
            if not self._health.fails:
                self._ahead = min(AHEAD_MAX, self._ahead * 2)
            return
        while self._resting and self._resting[0] <= now:
            heapq.heappop(self._resting)
        self._look_at = min([now + POLL_S, *self._resting[:1]])

    async def _settle(self, outcomes: list[Outcome]) -> list[Pending]:
        return await self._ledger.settle(self.claimer, outcomes) if outcomes else []

    async def _claim(self, limit: int) -> list[Pending]:
        return await self._ledger.claim(self.claimer, limit) if limit else []

    async def _give_back(self, change_ids: list[int]) -> None:
        if change_ids:
            await self._ledger.give_back(self.claimer, change_ids)

    def _wanted(self) -> int:
        """How many changes to claim now."""
        return self._room() if time.monotonic() >= self._look_at else 0

    def _rest_s(self) -> float:
        """Until there may be something to do; whatever ends before that wakes us."""
        now = time.monotonic()
        if self._ready and not self._sending:
            return max(0.0, self._left_alone_until - now)
        return max(self._look_at - now, self._left_alone_until - now, 0.0) or POLL_S

    def _start(self) -> None:
        now = time.monotonic()
        slots = 1 if self._health.fails else self._sink.concurrency
        while self._ready and len(self._sending) < slots and now >= self._left_alone_until:
            claimed = self._ready.popleft()
            if now > claimed.start_before:
                self._late.append(claimed.pending.change_id)
                self._ahead = max(self._sink.concurrency, self._ahead // 2)
                continue
            sending = asyncio.create_task(self._send(claimed.pending))
            self._sending.add(sending)
            sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._sending.discard(sending)
        if not sending.cancelled():
            self._start()
            self._wake.set()

    async def _send(self, pending: Pending) -> None:
        fault = pending.fault
        fault.stages_ms |= self._ledger.stage(pending.change_id)
        self._began_ns[pending.change_id] = now_ns()
        try:
            async with asyncio.timeout(self._sink.timeout_s):
                await self._sink.deliver(fault)
        except RefusedError as error:
            _log.error(
                "sink %s: fault %s: %s; given up",
                *(self._sink.name, fault.id, error),
                extra=about(fault.id),
            )
            await self._end(pending, FAILED, error=str(error))
        except HeldError as error:  # says nothing about the sink's health
            self._rest(pending, error.rest_s, str(error))
        except Exception as error:
            self._fail(pending, error)
        else:
            await self._end(pending, DONE)

    async def _end(self, pending: Pending, state: str, error: str | None = None) -> None:
        """The sink said yes, or no for ever; either way it is alive."""
        done_ms = None
        if state == DONE and not pending.is_repeat:
            done_ms = ms_since(pending.fault.changed_at, datetime.now(UTC))
        self._report(pending, state, last_error=error, done_ms=done_ms)
        was_down = self._health.is_down
        self._health.yes()
        self._left_alone_until = 0.0
        if was_down:
            _log.warning("sink %s: it takes faults again", self._sink.name)
            with contextlib.suppress(DatabaseError):  # then they are due when they are due
                await self._ledger.wake_resting(self._sink.name)
            self._look_at = 0.0

    def _fail(self, pending: Pending, error: Exception) -> None:
        attempts = pending.attempts + 1
        rest_s = backoff_s(attempts, _chance.random())
        why = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            why = f"no answer within {self._sink.timeout_s:g} s"
        was_down = self._health.is_down
        self._health.no(lane_of(pending.fault))
        if not self._health.fails:
            _log.warning(
                "sink %s: fault %s: %s; attempt %d, again in %.1f s",
                self._sink.name,
                pending.fault.id,
                why,
                attempts,
                rest_s,
                extra=about(pending.fault.id),
            )
        elif self._health.is_down and not was_down:
            _log.error(
                "sink %s: it takes nothing: %s; it is tried now and then", self._sink.name, why
            )
        self._left_alone_until = time.monotonic() + self._health.probe_rest_s(_chance.random())
        self._rest(pending, rest_s, why)

    def _rest(self, pending: Pending, rest_s: float, why: str) -> None:
        again = time.monotonic() + rest_s
        heapq.heappush(self._resting, again)
        self._look_at = min(self._look_at, again)
        again_at = iso(datetime.now(UTC) + timedelta(seconds=rest_s))
        self._report(pending, PENDING, rest_s=rest_s, last_error=why, next_attempt_at=again_at)

    def _report(
        self,
        pending: Pending,
        state: str,
        *,
        rest_s: float = 0.0,
        last_error: str | None = None,
        next_attempt_at: str | None = None,
        done_ms: float | None = None,
    ) -> None:
        outcome = Outcome(
            change_id=pending.change_id,
            sink=self._sink.name,
            state=state,
            attempts=pending.attempts + 1,
            rest_s=rest_s,
            next_attempt_at=next_attempt_at,
            last_error=last_error,
            done_ms=done_ms,
        )
        self._outcomes.append(outcome)
        self._on_outcome(outcome)
        self._trail.attempted(pending, outcome, self._began_ns.pop(pending.change_id, now_ns()))

    async def _stop(self) -> None:
        """What is still on its way after a moment is given up; every claim is given back."""
        self._ready.clear()
        if self._sending:
            await asyncio.wait(self._sending, timeout=FINISH_S)
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        try:
            async with asyncio.timeout(GIVE_BACK_S):
                await self._settle(self._outcomes)
                await self._ledger.give_back(self.claimer)
        except (DatabaseError, TimeoutError) as error:
            _log.warning("sink %s: its claims run out by themselves: %s", self._sink.name, error)
