"""The loop that heartbeats guests: one epoll object of its own, one wheel, ticks of 10 ms.

Guests' sockets are no asyncio transports: a wake-up for each message would cost more than all
that is done with it. The first message after a quiet time is handled at once; from then on input
is looked at on ticks only, all of it, until two ticks in a row found nothing (network cards
coalesce their interrupts in the same way). Guests that speak to their group are looked at sooner
(eager.py).

At a tick: first drain all input, then judge deadlines. So an answer that is in the socket counts,
however late this process was.
"""

import asyncio
import logging
import select
import time
from collections.abc import Callable
from typing import Protocol

from reachthru.host_agent.channel import Channel
from reachthru.host_agent.eager import EagerPorts
from reachthru.host_agent.lateness import AwakeTime
from reachthru.host_agent.wheel import SLOT_S, TOLERANCE_S, Timed, Wheel

IDLE_TICK_SLOTS = 100  # so often a tick comes even where nothing is due: it is a sign of life
QUIET_TICKS = 2
EVENTS_A_POLL = 1024
_OUTPUT = select.EPOLLOUT

_log = logging.getLogger(__name__)


class Wakeable(Timed, Protocol):
    """What the engine wakes at its deadline."""

    def wake(self, now: float) -> None: ...


class Engine:
    """`on_tick` is called after each tick, `on_hang_up` with a channel whose connection ended.

    All times that go in and out are awake time (lateness.py).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        awake: AwakeTime,
        *,
        on_hang_up: Callable[[Channel], None],
        on_tick: Callable[[], None],
        on_loss: Callable[[float], None],
    ) -> None:
        self._loop = loop
        self._awake = awake
        self._on_hang_up = on_hang_up
        self._on_tick = on_tick
        self._on_loss = on_loss
        self._epoll = select.epoll()
        self._eager = EagerPorts(loop, self._read_early)
        self._channels: dict[int, Channel] = {}  # by file descriptor
        self._blocked: set[Channel] = set()  # watched for output, too
        self._wheel: Wheel[Wakeable] = Wheel()
        self._timer: asyncio.TimerHandle | None = None
        self._next_slot = 0
        self._ticking = False
        self._quiet_ticks = QUIET_TICKS
        self._listening = False

    def start(self) -> None:
        self._sleep(self._slot_now())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._listen(False)
        for channel in list(self._channels.values()):
            self.detach(channel)
        self._eager.close()
        self._epoll.close()

    def now(self) -> float:
        return self._awake.at(time.monotonic())

    # --- what is watched ---------------------------------------------------------------------

    def attach(self, channel: Channel) -> None:
        """Watches the channel's socket, which is connected and does not block."""
        assert channel.sock is not None
        self._channels[channel.sock.fileno()] = channel
        self._epoll.register(channel.sock.fileno(), select.EPOLLIN)

    def detach(self, channel: Channel) -> None:
        """Closes the channel's socket, if it has one. Its deadlines stay."""
        if channel.sock is not None:
            self._blocked.discard(channel)
            self._eager.forget(channel)
            del self._channels[channel.sock.fileno()]
            self._epoll.unregister(channel.sock.fileno())
            channel.detach()

    def expect(self, channel: Channel) -> None:
        """What its guest says next is read as soon as it is there."""
        self._eager.watch(channel)

    def arm(self, item: Wakeable) -> None:
        """To be called when a deadline may have come nearer from outside of `wake` and `read`."""
        self._wheel.arm(item)
        if not self._ticking and item.slot is not None and item.slot < self._next_slot:
            self._set_timer(item.slot)

    def disarm(self, item: Wakeable) -> None:
        self._wheel.disarm(item)

    # --- ticks -------------------------------------------------------------------------------

    def _tick(self) -> None:
        woke_at = time.monotonic()
        lost_s = self._awake.woke(self._next_slot * SLOT_S, woke_at)
        slot = max(self._next_slot, int(self._awake.at(woke_at) / SLOT_S))
        self._ticking = True
        try:
            if lost_s:
                self._on_loss(lost_s)
            self._quiet_ticks = 0 if self._drain() else self._quiet_ticks + 1
            self._judge(slot)
            self._on_tick()
        finally:
            self._ticking = False
            self._sleep(slot)

    def _judge(self, slot: int) -> None:
        """Wakes what is due. On time, `now` is the slot's own moment: cadences do not drift."""
        now = slot * SLOT_S
        latest = now + TOLERANCE_S
        for item in self._wheel.pop(slot):
            deadline = item.deadline()
            if deadline is not None and deadline <= latest:
                try:
                    item.wake(deadline if deadline > now else now)
                except Exception:  # a mistake of ours about one guest is that guest's alone
                    _log.exception("waking %r failed; it is not watched any more", item)
                    continue
                if isinstance(item, Channel) and item.unsent:
                    self.watch_output(item)
            self._wheel.arm(item)

    def _sleep(self, slot: int) -> None:
        busy = self._quiet_ticks < QUIET_TICKS
        self._listen(not busy)
        due = self._wheel.next_slot()
        latest = slot + 1 if busy else slot + IDLE_TICK_SLOTS
        self._set_timer(latest if due is None else max(min(due, latest), slot + 1))

    def _set_timer(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_slot = slot
        self._timer = self._loop.call_at(self._awake.monotonic(slot * SLOT_S), self._tick)

    def _slot_now(self) -> int:
        return int(self.now() / SLOT_S)

    # --- input -------------------------------------------------------------------------------

    def _listen(self, wanted: bool) -> None:
        if wanted and not self._listening:
            self._loop.add_reader(self._epoll.fileno(), self._first_input)
        elif self._listening and not wanted:
            self._loop.remove_reader(self._epoll.fileno())
        self._listening = wanted

    def _first_input(self) -> None:
        """Something came after a quiet time; what follows it is left for the ticks."""
        if self._slot_now() > self._next_slot:  # a tick is overdue, and knows what that means
            self._tick()
            return
        self._ticking = True
        try:
            self._drain()
        finally:
            self._ticking = False
            self._quiet_ticks = 0
            self._listen(False)
            self._set_timer(min(self._next_slot, self._slot_now() + 1))

    def _read_early(self, channel: Channel) -> None:
        if not self._listening and self._slot_now() <= self._next_slot:  # or it is read right now
            self._serve(channel, select.EPOLLIN, self.now())

    def _drain(self) -> bool:
        """Reads what every guest sent, up to its limits. True, if there was anything."""
        now = self.now()
        channels, serve = self._channels, self._serve
        heard = False
        for _ in range(len(channels) // EVENTS_A_POLL + 1):
            ready = self._epoll.poll(0, EVENTS_A_POLL)
            heard = heard or bool(ready)
            for descriptor, mask in ready:
                channel = channels.get(descriptor)
                if channel is not None:
                    serve(channel, mask, now)
            if len(ready) < EVENTS_A_POLL:
                break
        return heard

    def _serve(self, channel: Channel, mask: int, now: float) -> None:
        if mask & _OUTPUT:
            channel.flush()
            if not channel.unsent:
                self._unwatch_output(channel)
        if mask != _OUTPUT:
            try:
                connected = channel.read(now)
            except Exception:  # a mistake of ours about one guest is that guest's alone
                _log.exception("reading from %r failed; it is connected anew", channel)
                connected = False
            if not connected:
                self.detach(channel)
                self._on_hang_up(channel)
            elif channel.unsent:
                self.watch_output(channel)

    def watch_output(self, channel: Channel) -> None:
        """What the channel has left unsent is sent as soon as its socket takes it."""
        if channel not in self._blocked and channel.sock is not None:
            self._blocked.add(channel)
            self._epoll.modify(channel.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _unwatch_output(self, channel: Channel) -> None:
        if channel in self._blocked and channel.sock is not None:
            self._blocked.discard(channel)
            self._epoll.modify(channel.sock.fileno(), select.EPOLLIN)
