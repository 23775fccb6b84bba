"""Counted numbers as Prometheus' library wants them, and as it serves them."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from reachthru import __version__
from reachthru.telemetry.metrics import BUILD_INFO, Description, Kind, Tally, Values

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def family(described: Description, values: Values) -> Metric:
    """`values` as Prometheus' library wants it."""
    by_labels: dict[tuple[str, ...], Any] = dict.fromkeys(described.zeros, 0)
    by_labels.update(values if isinstance(values, Mapping) else {(): values})
    made: Any = _FAMILIES[described.kind](described.name, described.help, labels=described.labels)
    for labels, value in by_labels.items():
        if isinstance(value, Tally):
            buckets, total = value.cumulated()
            made.add_metric(labels, buckets, total)
        else:
            made.add_metric(labels, float(value))
    metric: Metric = made
    return metric


_FAMILIES: dict[Kind, Any] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}


class Families:
    """What `generate_latest` and a registry take: metrics that were read just now."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def new_registry() -> CollectorRegistry:
    """With this process's own figures (process_...), and the version."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Families([family(BUILD_INFO, {(__version__,): 1})]))
    return registry
