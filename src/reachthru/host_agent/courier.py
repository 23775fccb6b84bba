"""Carries the outbox to controllers: in order for each instance, again until acknowledged.

What may go at the same moment goes in one message, if every controller that was heard takes such
messages. Any of them may get it, also one that was not heard yet: so what has to go again goes by
itself.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

import msgspec

from reachthru.bus.base import AgentBus, BusRefusedError, BusUnavailableError
from reachthru.host_agent.lanes import Lanes
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.trail import UNTRACED, Trail
from reachthru.protocol.agent_bus import FaultBatch, FaultChange, encode
from reachthru.telemetry.traces import now_ns

BATCH = 50  # handed to the carrier at once
RETRY_S = 0.5


class Courier:
    """Made before the outbox is opened: it is told of each change that may be sent."""

    def __init__(
        self,
        bus: AgentBus,
        outbox: Outbox,
        clock: Callable[[], float] = time.monotonic,
        trail: Trail = UNTRACED,
    ) -> None:
        self._bus = bus
        self._outbox = outbox
        self._trail = trail
        self._clock = clock
        self._lanes = Lanes()
        self._work = asyncio.Event()
        self._batch_limit = 0  # of those that were heard since the last rewind
        self._hears_anew = True
        outbox.on_ready = self._add
        outbox.on_gone = self._lanes.remove

    def rewind(self) -> None:
        """The connection is new, or a controller asked for what it did not acknowledge."""
        self._lanes.rewind()
        self._hears_anew = True
        self._work.set()

    def acknowledge(self, seqs: list[int], batch_limit: int = 0) -> None:
        """`batch_limit`: how many changes in one message whoever acknowledges takes."""
        if self._hears_anew or batch_limit < self._batch_limit:
            self._batch_limit = batch_limit
            self._hears_anew = False
        self._trail.acknowledged(self._outbox.acknowledge(seqs))
        self._work.set()

    async def run(self) -> None:
        while True:
            await self._wait()
            try:
                while self._bus.connected and await self._send_some():
                    pass
            except BusUnavailableError:
                self.rewind()
                await asyncio.sleep(RETRY_S)

    def _add(self, change: FaultChange) -> None:
        self._trail.kept(change)
        self._lanes.add(change)
        self._work.set()

    async def _wait(self) -> None:
        """For something to do, and no longer than a missing acknowledgement may take."""
        timeout_s = None
        deadline = self._lanes.deadline() if self._bus.connected else None
        if deadline is not None:
            timeout_s = max(0.0, deadline - self._clock())
        try:
            async with asyncio.timeout(timeout_s):
                await self._work.wait()
        except TimeoutError:
            return
        self._work.clear()

    async def _send_some(self) -> bool:
        """One batch. False: nothing to send, or no room. Raises `BusUnavailableError`."""
        changes = self._lanes.take(BATCH, self._clock())
        if not changes:
            return False
        self._outbox.mark_told(changes)
        began_ns = now_ns()
        again = [change for change in changes if self._lanes.was_sent_before(change.seq)]
        first = [change for change in changes if not self._lanes.was_sent_before(change.seq)]
        messages: list[FaultChange | FaultBatch] = [*again, *self._batches(first)]
        sending = (self._bus.send(message) for message in messages)
        for result in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(result, BusRefusedError):
                self._batch_limit = 0  # it may have been too long
            if isinstance(result, BaseException):
                raise result
        self._trail.sent(changes, began_ns)
        return True

    def _batches(self, changes: list[FaultChange]) -> Iterator[FaultChange | FaultBatch]:
        limit = self._batch_limit
        if limit < 2 or len(changes) < 2:
            yield from changes
            return
        for start in range(0, len(changes), limit):
            some = changes[start : start + limit]
            raws = [msgspec.Raw(encode(change)) for change in some]
            yield FaultBatch(host=some[0].host, changes=raws)
