"""Carries the outbox to controllers: in order, a window at a time, again until acknowledged."""

import asyncio
import time
from collections.abc import Callable

from reachthru.bus.base import AgentBus, BusUnavailableError
from reachthru.host_agent.outbox import Outbox

WINDOW = 200  # changes that are sent and not acknowledged
BATCH = 50  # handed to the carrier at once
RESEND_S = 5.0
RETRY_S = 0.5


class Courier:
    """`rewind` starts again with the oldest change that nobody acknowledged."""

    def __init__(
        self, bus: AgentBus, outbox: Outbox, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bus = bus
        self._outbox = outbox
        self._clock = clock
        self._sent_seq = 0  # everything up to here was sent on this connection
        self._unacknowledged: dict[int, None] = {}
        self._progress_at = clock()
        self._work = asyncio.Event()
        outbox.on_ready = self._work.set

    def rewind(self) -> None:
        """The connection is new, or a controller asked for everything again."""
        self._sent_seq = 0
        self._unacknowledged.clear()
        self._work.set()

    def acknowledge(self, seqs: list[int]) -> None:
        self._outbox.acknowledge(seqs)
        for seq in seqs:
            self._unacknowledged.pop(seq, None)
        self._progress_at = self._clock()
        self._work.set()

    async def run(self) -> None:
        while True:
            await self._wait()
            if self._is_overdue():
                self.rewind()
            try:
                while self._bus.connected and await self._send_some():
                    pass
            except BusUnavailableError:
                self.rewind()
                await asyncio.sleep(RETRY_S)

    async def _wait(self) -> None:
        """For something to do, and no longer than a missing acknowledgement may take."""
        timeout_s = None
        if self._unacknowledged and self._bus.connected:
            timeout_s = max(0.0, self._progress_at + RESEND_S - self._clock())
        try:
            async with asyncio.timeout(timeout_s):
                await self._work.wait()
        except TimeoutError:
            return
        self._work.clear()

    def _is_overdue(self) -> bool:
        return bool(self._unacknowledged) and self._clock() >= self._progress_at + RESEND_S

    async def _send_some(self) -> bool:
        """One batch. False: nothing to send, or no room. Raises `BusUnavailableError`."""
        room = min(BATCH, WINDOW - len(self._unacknowledged))
        changes = self._outbox.sendable(self._sent_seq, room)
        if not changes:
            return False
        if not self._unacknowledged:
            self._progress_at = self._clock()
        for change in changes:
            self._sent_seq = change.seq
            self._unacknowledged[change.seq] = None
        sending = (self._bus.send(change) for change in changes)
        for result in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        return True
