"""Whether Nova's bus carries, judged by our own pulses on it. Pure."""

from enum import Enum

LIMIT_S = 5.0  # pulses come every second; the broker's hiccup, and ours, are forgiven


class Verdict(Enum):
    FINE = "fine"
    LOST = "lost"  # it carries nothing any more
    MISSED = "missed"  # it carries, and something may have been lost before


class PulseWatch:
    """Every `now` is monotonic seconds. `carries` is None before the first pulse."""

    def __init__(self) -> None:
        self._heard_at = 0.0
        self._number = 0
        self.carries: bool | None = None

    def heard(self, number: int, now: float) -> Verdict:
        missed = not self.carries or number != self._number + 1
        self._heard_at, self._number, self.carries = now, number, True
        return Verdict.MISSED if missed else Verdict.FINE

    def check(self, now: float) -> Verdict:
        """LOST once for each loss."""
        if not self.carries or now - self._heard_at < LIMIT_S:
            return Verdict.FINE
        self.carries = False
        return Verdict.LOST
