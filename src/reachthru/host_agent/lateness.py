"""The detector may be the sick one: time in which this process could not run blames nobody.

Everything that judges guests lives in *awake time*: monotonic time less what was lost. When the
agent finds that it woke much later than it wanted (it was stopped, starved, or its machine slept)
awake time goes on from the moment that was wanted, so every deadline moves by what was lost, and
the guests keep their order. Awake time does go on between two losses, so a guest that really
hangs is found even by an agent that is starved again and again.
"""

from collections import deque

from reachthru.host_agent.metric_table import LATENESS_BUCKETS_S
from reachthru.telemetry.metrics import Tally

# Later than this is more than a busy machine: the time is given back.
TOLERATED_S = 0.050
LOSSES_KEPT = 64


class AwakeTime:
    """Turns monotonic time into awake time and back. Every argument is in seconds."""

    def __init__(self) -> None:
        self._lost_s = 0.0
        self._losses: deque[tuple[float, float]] = deque(maxlen=LOSSES_KEPT)  # (awake, lost before)
        self._worst_s = 0.0
        self.lateness = Tally(LATENESS_BUCKETS_S)

    @property
    def lost_s(self) -> float:
        """All that was lost since the start."""
        return self._lost_s

    def at(self, monotonic: float) -> float:
        """The awake time of a monotonic moment since the last loss."""
        return monotonic - self._lost_s

    def monotonic(self, awake: float) -> float:
        """When an awake moment really was (or, if it is to come, will be)."""
        for moment, lost_before_s in self._losses:
            if awake < moment:
                return awake + lost_before_s
        return awake + self._lost_s

    def woke(self, wanted: float, monotonic: float) -> float:
        """The process wanted to wake at awake time `wanted`, and did now.

        Returns how much time was lost, 0.0 if it was not late enough to matter.
        """
        late_s = self.at(monotonic) - wanted
        self._worst_s = max(self._worst_s, late_s)
        self.lateness.add(late_s)
        if late_s <= TOLERATED_S:
            return 0.0
        self._losses.append((wanted, self._lost_s))
        self._lost_s += late_s
        return late_s

    def take_worst_s(self) -> float:
        """The worst lateness since the last call."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return worst_s
