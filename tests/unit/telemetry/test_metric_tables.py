"""The metrics keep Prometheus' conventions, and docs/metrics.md has all of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from reachthru.controller_server import metric_table as controller
from reachthru.host_agent import metric_table as host
from reachthru.telemetry.exposition import family
from reachthru.telemetry.metrics import Kind, Tally

ROOT = Path(__file__).parents[3]
EVERY = [*host.METRICS, *controller.METRICS]
# prometheus.io/docs/practices/naming: base units only, so none of these is a part of a name.
SCALED_UNITS = {"ms", "us", "milliseconds", "minutes", "hours", "kb", "mb", "mib", "percent"}
# Few values, whatever guests and agents do. `host` and `sender`: of one metric, which is bounded.
LABELS = {
    *("kind", "status", "sink", "outcome", "reason", "stage", "condition", "connected", "version"),
}


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_names_keep_the_conventions(metric):
    assert re.fullmatch(r"reachthru(_[a-z]+)+", metric.name)
    assert not SCALED_UNITS & set(metric.name.split("_"))
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_info"))
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(set(metric.buckets))
    assert len(metric.help) > 10
    assert not metric.help.endswith(".")


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_labels_have_few_values(metric):
    if metric is controller.AGENT_GROUP_LOSSES:
        assert metric.labels == ("host", "sender", "reason")  # bounded: test_metrics.py
    else:
        assert set(metric.labels) <= LABELS


def test_no_name_is_used_twice():
    names = [metric.name for metric in EVERY]
    assert len(names) == len(set(names))


def test_the_tables_leave_none_out():
    for table in (host, controller):
        described = {value for value in vars(table).values() if hasattr(value, "labels")}
        assert described == set(table.METRICS)


def test_the_documentation_is_current():
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "metrics-table", "--check"], check=False
    )
    assert made.returncode == 0, "run tools/metrics-table"


def test_a_tally_counts_as_prometheus_does():
    tally = Tally((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 3.0):
        tally.add(value)
    buckets, total = tally.cumulated()
    assert buckets == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert total == pytest.approx(3.65)
    samples = family(host.ROUND_TRIP, tally).samples
    assert samples[-2].name.endswith("_count")
    assert samples[-2].value == 4
