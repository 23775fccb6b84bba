"""How quickly each guest answered of late: a bounded ring of samples a guest, in memory.

Every controller hears every report, so each has its own; one that has just started has none yet.
"""

from array import array
from datetime import UTC, datetime

from msgspec import Struct

from reachthru.controller_server.model import iso

SAMPLES_KEPT = 120  # a guest: ten minutes, where its host has few guests. 1.4 KB


class RoundTrip(Struct, frozen=True):
    """`ms`: the slowest answer since the report before; `at`: ISO 8601, by its agent's clock."""

    at: str
    ms: float


class _Ring:
    __slots__ = ("at_s", "ms")

    def __init__(self) -> None:
        self.at_s = array("d")
        self.ms = array("f")

    def append(self, at_s: float, ms: float) -> None:
        if len(self.at_s) == SAMPLES_KEPT:
            del self.at_s[0], self.ms[0]
        self.at_s.append(at_s)
        self.ms.append(ms)


class RoundTrips:
    def __init__(self) -> None:
        self._rings: dict[str, _Ring] = {}

    def add(self, uuid: str, at_s: float, ms: float) -> None:
        """`at_s`: seconds of the wall clock."""
        self._rings.setdefault(uuid, _Ring()).append(at_s, ms)

    def forget(self, uuid: str) -> None:
        self._rings.pop(uuid, None)

    def of(self, uuid: str) -> list[RoundTrip]:
        """The oldest first."""
        ring = self._rings.get(uuid)
        if ring is None:
            return []
        return [
            RoundTrip(iso(datetime.fromtimestamp(at_s, UTC)), round(ms, 3))
            for at_s, ms in zip(ring.at_s, ring.ms, strict=True)
        ]

    def last_ms(self, uuid: str) -> float | None:
        ring = self._rings.get(uuid)
        return None if ring is None else round(ring.ms[-1], 3)
