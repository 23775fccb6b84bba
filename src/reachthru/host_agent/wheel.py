"""Deadlines gathered into slots, since what costs is waking up and not what is done then.

An item has at most one entry. A deadline that moves later leaves the entry where it is: it fires
early, and whoever takes it puts it back. So a guest that answers re-arms nothing.
"""

import heapq
from math import ceil
from typing import Generic, Protocol, TypeVar

SLOT_S = 0.010
# Two floats that mean the same moment differ by less than this.
TOLERANCE_S = 1e-6


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

    def arm(self, item: Item) -> None:
        """Sees to it that `item` fires no later than its deadline's slot."""
        moment = item.deadline()
        if moment is None:
            return
        slot = ceil((moment - TOLERANCE_S) / SLOT_S)  # as slot_of, at the cost of no call
        if item.slot is not None:
            if item.slot <= slot:
                return
            self._slots[item.slot].pop(item, None)
        item.slot = slot
        entries = self._slots.get(slot)
        if entries is None:
            self._slots[slot] = {item: None}
            heapq.heappush(self._order, slot)
        else:
            entries[item] = None

    def disarm(self, item: Item) -> None:
        if item.slot is not None:
            self._slots[item.slot].pop(item, None)
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
        return due
