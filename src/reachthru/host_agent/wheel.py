"""Deadlines gathered into slots, since what costs is waking up and not what is done then.

An item has at most one entry. A deadline that moves later leaves the entry where it is: it fires
early, and whoever takes it puts it back. So a guest that answers re-arms nothing.

A process that wakes late finds several slots due at once, and everything in them would be due at
once ever after: stall by stall all guests would gather in a few slots. So what would crowd a slot
goes into the next ones.
"""

import heapq
from math import ceil
from typing import Generic, Protocol, TypeVar

SLOT_S = 0.010
# Two floats that mean the same moment differ by less than this.
TOLERANCE_S = 1e-6
CROWD = 64  # items; fewer are no crowd, ...
UNFAIR = 2.0  # ... nor is a slot with less than so many times its share
SPREAD_SLOTS = 3  # how much later than its deadline an item may fire on account of a crowd


class Timed(Protocol):
    """What can stand in the wheel. `slot` belongs to the wheel; it starts as None."""

    slot: int | None

    def deadline(self) -> float | None: ...


Item = TypeVar("Item", bound=Timed)


def slot_of(moment: float) -> int:
    """The first slot that is not before `moment`: a deadline is never judged early."""
    return ceil((moment - TOLERANCE_S) / SLOT_S)


class Wheel(Generic[Item]):
    """Slot `n` stands for the moment `n * SLOT_S`."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[Item, None]] = {}
        self._order: list[int] = []  # a heap of the keys of `_slots`
        self._armed = 0
        self._popped = 0  # the last slot that was taken out

    def arm(self, item: Item) -> None:
        """Sees to it that `item` fires in its deadline's slot, or soon after if that is crowded."""
        moment = item.deadline()
        if moment is None:
            return
        slot = ceil((moment - TOLERANCE_S) / SLOT_S)  # as slot_of, at the cost of no call
        if item.slot is not None:
            if item.slot <= slot:
                return
            self.disarm(item)
        entries = self._slots.get(slot)
        if entries is not None and len(entries) >= CROWD:
            slot = self._less_crowded(slot)
            entries = self._slots.get(slot)
        item.slot = slot
        self._armed += 1
        if entries is None:
            self._slots[slot] = {item: None}
            heapq.heappush(self._order, slot)
        else:
            entries[item] = None

    def disarm(self, item: Item) -> None:
        if item.slot is not None:
            self._slots[item.slot].pop(item, None)
            self._armed -= 1
            item.slot = None

    def next_slot(self) -> int | None:
        """The earliest slot that has (or had) an entry."""
        return self._order[0] if self._order else None

    def pop(self, until: int) -> list[Item]:
        """Takes out what stands in the slots up to and with `until`, earliest first."""
        due: list[Item] = []
        while self._order and self._order[0] <= until:
            due += self._slots.pop(heapq.heappop(self._order))
        for item in due:
            item.slot = None
        self._armed -= len(due)
        self._popped = until
        return due

    def _less_crowded(self, slot: int) -> int:
        """`slot`, or one soon after it that holds less than twice its share."""
        share = self._armed / max(1, slot - self._popped)  # were all due within that time
        for later in range(slot, slot + SPREAD_SLOTS + 1):
            if len(self._slots.get(later, ())) < max(CROWD, UNFAIR * share):
                return later
        return slot
