"""Which fault changes this controller has heard of already. Pure.

It hears of a change when it stores it, from the controller that stored it, and from the tail of
the database's table, which repairs what was missed. Ids are given before a commit, so a change
may appear in the table below others that were read before: the tail overlaps by `OVERLAP_S`.
"""

from collections import deque
from collections.abc import Iterable

from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultStatus

TAIL_PERIOD_S = 5.0
OVERLAP_S = 30.0  # longer than any commit takes

Key = tuple[str, FaultStatus]


class HeardChanges:
    """`floor`: the id of a change, above which the tail has to read. Times are monotonic."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self._keys: set[Key] = set()
        self._since: set[Key] = set()  # since the tail was read last
        self._reads: deque[tuple[float, int, set[Key]]] = deque()

    def knows(self, key: Key) -> bool:
        """A raise that comes after its own clearing is no news any more."""
        return key in self._keys or (key[0], FaultStatus.CLEARED) in self._keys

    def is_new(self, key: Key) -> bool:
        """True once for each."""
        if self.knows(key):
            return False
        self._keys.add(key)
        self._since.add(key)
        return True

    def new(self, changes: Iterable[FaultChange]) -> list[FaultChange]:
        return [change for change in changes if self.is_new((change.fault_id, change.status))]

    def tail_read(self, last_id: int, now: float) -> None:
        """Everything up to `last_id` was read, and is known now."""
        self._reads.append((now, max(last_id, self.floor), self._since))
        self._since = set()
        while self._reads[0][0] <= now - OVERLAP_S:
            _at, self.floor, keys = self._reads.popleft()
            self._keys -= keys
