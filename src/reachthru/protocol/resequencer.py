"""Restores the order of each sender's messages that several controllers carried: pure.

Each message names its sender's epoch (a time within which it counts) and its number there, from 1.
One that comes too early waits for those before it, `WAIT_S` at most; then those count as missing
and are dropped should they come after all. Nothing that a peer sends makes the memory grow beyond
the limits below: over them, waiting ends early, and who was silent longest is forgotten.
"""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from msgspec import Struct, field

WAIT_S = 0.05
SENDERS_LIMIT = 4_000
HELD_LIMIT = 1_000  # messages that wait, of all senders
HELD_A_SENDER_LIMIT = 64
MISSING_LIMIT = 64  # numbers of a sender's that are still told from repeats
PAST_EPOCHS = 4

LATE = "late"  # given up before it came
REPEATED = "repeated"  # it was here before

Item = TypeVar("Item")


class _Held(Struct, Generic[Item]):
    item: Item
    until: float


class _Sender(Struct, Generic[Item]):
    epoch: str
    next_seq: int = 1
    held: dict[int, _Held[Item]] = field(default_factory=dict)  # none below `next_seq`
    missing: deque[int] = field(default_factory=lambda: deque(maxlen=MISSING_LIMIT))
    past: deque[str] = field(default_factory=lambda: deque(maxlen=PAST_EPOCHS))


class Resequencer(Generic[Item]):
    """`receive` and `wake`, then `take_output` and `take_dropped`."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, _Sender[Item]] = OrderedDict()
        self._waiting: dict[str, None] = {}  # senders that have something held, the longest first
        self._held_count = 0
        self._output: list[Item] = []
        self._dropped: list[tuple[Item, str]] = []

    def receive(self, sender: str, epoch: str, seq: int, item: Item, now: float) -> None:
        """`epoch` "" is an older agent's, of whose order nothing is known."""
        if not epoch:
            self._output.append(item)
            return
        state = self._state_of(sender, epoch)
        if state is None:
            self._dropped.append((item, LATE))
        elif seq < state.next_seq or seq in state.held:
            reason = LATE if seq in state.missing else REPEATED
            if reason == LATE:
                state.missing.remove(seq)
            self._dropped.append((item, reason))
        elif seq == state.next_seq:
            self._output.append(item)
            state.next_seq += 1
            self._release(sender, state)
        else:
            state.held[seq] = _Held(item, now + WAIT_S)
            self._held_count += 1
            self._waiting[sender] = None
            self._keep_bounds(sender, state)

    def deadline(self) -> float | None:
        """When somebody has waited long enough."""
        return min(
            (held.until for name in self._waiting for held in self._senders[name].held.values()),
            default=None,
        )

    def wake(self, now: float) -> None:
        for sender in list(self._waiting):
            state = self._senders[sender]
            overdue = [seq for seq, held in state.held.items() if held.until <= now]
            if overdue:
                self._give_up(sender, state, max(overdue))

    def take_output(self) -> list[Item]:
        """What is to be delivered now, in order."""
        output, self._output = self._output, []
        return output

    def take_dropped(self) -> list[tuple[Item, str]]:
        """(message, `LATE` or `REPEATED`)"""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _state_of(self, sender: str, epoch: str) -> _Sender[Item] | None:
        """None: the epoch is over."""
        state = self._senders.get(sender)
        if state is None:
            state = self._senders[sender] = _Sender(epoch)
            if len(self._senders) > SENDERS_LIMIT:
                self._forget(next(iter(self._senders)))
            return state
        if epoch in state.past:
            return None
        self._senders.move_to_end(sender)
        if epoch != state.epoch:
            self._give_up(sender, state)
            state.past.append(state.epoch)
            state.epoch, state.next_seq = epoch, 1
            state.missing.clear()
        return state

    def _keep_bounds(self, sender: str, state: _Sender[Item]) -> None:
        if len(state.held) > HELD_A_SENDER_LIMIT:
            self._give_up(sender, state, min(state.held))
        while self._held_count > HELD_LIMIT:
            longest = next(iter(self._waiting))
            self._give_up(longest, self._senders[longest])

    def _give_up(self, sender: str, state: _Sender[Item], up_to: int | None = None) -> None:
        """What is held, up to that number or all of it, waits no more for what is missing."""
        for seq in sorted(state.held):
            if up_to is not None and seq > up_to:
                break
            first_remembered = max(state.next_seq, seq - MISSING_LIMIT)
            state.missing.extend(range(first_remembered, seq))
            self._hand_out(state, seq)
        self._release(sender, state)

    def _release(self, sender: str, state: _Sender[Item]) -> None:
        """What is held and misses nothing any more."""
        while state.next_seq in state.held:
            self._hand_out(state, state.next_seq)
        if not state.held:
            self._waiting.pop(sender, None)

    def _hand_out(self, state: _Sender[Item], seq: int) -> None:
        self._output.append(state.held.pop(seq).item)
        self._held_count -= 1
        state.next_seq = seq + 1

    def _forget(self, sender: str) -> None:
        self._give_up(sender, self._senders[sender])
        del self._senders[sender]
