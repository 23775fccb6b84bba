"""What guests were not told by us, since another controller leads: to be told if it dies. Pure."""

from collections import deque

from reachthru.controller_server.groups.base import MemberChange

UNTOLD_LIMIT = 10_000


class Untold:
    """Every `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._changes: deque[tuple[float, MemberChange]] = deque(maxlen=UNTOLD_LIMIT)

    def keep(self, change: MemberChange, now: float) -> None:
        self._changes.append((now, change))

    def told_by_another(self, until: float) -> None:
        """A leader that lived until then has told what came before."""
        while self._changes and self._changes[0][0] < until:
            self._changes.popleft()

    def take(self) -> list[MemberChange]:
        changes = [change for _at, change in self._changes]
        self._changes.clear()
        return changes
