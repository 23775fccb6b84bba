"""What the project wants of its figures, on an idle machine: one table."""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Goal:
    """The most that a figure may be, in its own unit, and beside its reference. None: no matter."""

    value: float | None = None
    ratio: float | None = None

    def is_met(self, value: float, ratio: float | None) -> bool:
        """A wanted ratio that could not be measured is not met."""
        if self.value is not None and value > self.value:
            return False
        return self.ratio is None or (ratio is not None and ratio <= self.ratio)

    def __str__(self) -> str:
        parts = []
        if self.value is not None:
            parts.append(f"<= {self.value:g}")
        if self.ratio is not None:
            parts.append(f"<= {self.ratio:g}x")
        return ", ".join(parts)


# By the names of results, as fnmatch(3) has them; the first that fits counts.
GOALS = {
    "heartbeat_cpu.1000x1000ms": Goal(value=45, ratio=2.5),
    "heartbeat_cpu.1000x200ms": Goal(value=20, ratio=2.5),
    "agent_rss.4000x1000ms": Goal(value=80),
    "lateness_p99.4000x1000ms": Goal(value=15),
    "detection_overhead_p99.idle": Goal(value=12),
    "detection_overhead_p99.loaded": Goal(value=25),  # at the priority of the systemd unit
    "detection_overhead_p99.loaded_plain": Goal(value=100),
    "detection_false.*": Goal(value=0),
    "broadcast_p50.*": Goal(ratio=2),
    "broadcast_cpu.*": Goal(ratio=2),
    "fault_burst.*": Goal(ratio=1.5),
    "guest_rss": Goal(value=14),
    "guest_rss.vm": Goal(value=14),
    "guest_start": Goal(value=150),
    "guest_cpu.1000ms": Goal(value=0.1),
    "page_first_view": Goal(value=1000),
    "page_first_view_bytes": Goal(value=200_000),
}


def goal_of(name: str) -> Goal | None:
    return next((goal for pattern, goal in GOALS.items() if fnmatchcase(name, pattern)), None)
