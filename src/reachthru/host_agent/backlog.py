"""Says, now and then, that fault changes wait for a controller: pure, with the time as argument."""

FIRST_AFTER_S = 10.0
AGAIN_AFTER_MAX_S = 600.0


class Backlog:
    """`look` gives a line for the log when there is something to say, first soon, then seldom."""

    def __init__(self) -> None:
        self._since: float | None = None  # nothing was acknowledged since then
        self._oldest_seq = 0
        self._said_at = 0.0
        self._again_after_s = 0.0  # 0: nothing was said

    def look(self, waiting: int, oldest_seq: int, *, connected: bool, now: float) -> str | None:
        """`oldest_seq` is that of the oldest of `waiting` changes; 0 if there are none."""
        if self._since is None or oldest_seq != self._oldest_seq:
            said, since = self._again_after_s > 0, self._since
            self._since, self._oldest_seq, self._again_after_s = now, oldest_seq, 0.0
            if said and since is not None:
                return f"controllers take faults again, after {now - since:.0f} s; {waiting} wait"
            return None
        if waiting == 0 or now < self._since + FIRST_AFTER_S:
            return None
        if self._again_after_s and now < self._said_at + self._again_after_s:
            return None
        self._said_at = now
        self._again_after_s = min(2 * self._again_after_s or FIRST_AFTER_S, AGAIN_AFTER_MAX_S)
        why = "the broker is away" if not connected else "no controller acknowledges them"
        return (
            f"{waiting} fault changes wait since {now - self._since:.0f} s: {why};"
            " detection goes on, and they are kept"
        )
