"""Metrics as tables: each is described once, and what serves, documents and tests it reads that.

The names follow Prometheus' conventions: base units in the name, `_total` for what only grows,
labels whose values are few whatever guests do. No instance's uuid is a label by default.
Nothing here imports Prometheus' library: whoever is not asked does not carry it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

# From the detector's own precision (10 ms) over Doctor's limit of a second to "it was kept".
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Description(Struct, frozen=True):
    """One metric: what is served, documented and checked.

    `zeros` are labels' values that are served from the start, as 0: what appears only with its
    first event is an event that `increase()` does not see.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    zeros: tuple[tuple[str, ...], ...] = ()


def counter(
    name: str, text: str, *labels: str, zeros: Iterable[tuple[str, ...]] = ()
) -> Description:
    return Description(name, Kind.COUNTER, text, labels, zeros=tuple(zeros))


def gauge(name: str, text: str, *labels: str) -> Description:
    return Description(name, Kind.GAUGE, text, labels)


def histogram(
    name: str, text: str, *labels: str, buckets: tuple[float, ...] = LATENCY_BUCKETS_S
) -> Description:
    return Description(name, Kind.HISTOGRAM, text, labels, buckets)


BUILD_INFO = gauge("reachthru_build_info", "Always 1: the version that runs", "version")


class Tally:
    """A histogram in plain integers. `add` costs a search in a dozen numbers."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_BUCKETS_S) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """([(upper bound, count up to it)], sum of all), as Prometheus has it."""
        total, buckets = 0, []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return buckets, self._sum


# What one metric shows: a number, or one for each of the labels' values (in their order).
Number = int | float
Values = Number | Tally | Mapping[Any, Number | Tally]
