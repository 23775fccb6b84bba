"""Times, columns that fit, and what a live list in a pipe says."""

import argparse
from datetime import UTC, datetime

import pytest

from reachthru.operator import times
from reachthru.operator.faults import FAULTS
from reachthru.operator.hosts import HOSTS
from reachthru.operator.instances import INSTANCES
from reachthru.operator.listing import Column
from reachthru.operator.output import Cell
from reachthru.operator.table import fitting
from reachthru.operator.watch import Lines

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5d", 129_600)]
)
def test_a_duration(text, seconds):
    assert times.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "1h 30m", "-1h", "1w"])
def test_no_duration(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no duration"):
        times.duration_s(text)


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("2026-01-01T11:59:55+00:00", "5 s ago"),
        ("2026-01-01T11:30:00+00:00", "30 min ago"),
        ("2026-01-01T13:00:00+00:00", "in 1 h"),
        ("2025-12-20T12:00:00+00:00", "12 d ago"),
        ("2026-01-01T12:00:00.4+00:00", "0 s ago"),  # the controller's clock is not ours
        ("nonsense", "nonsense"),
    ],
)
def test_how_long_ago(moment, said):
    assert times.ago(moment, NOW) == said


def instance(uuid, **more):
    fine = {"uuid": uuid, "name": uuid, "host": "h", "state": "running", "registered": True}
    return fine | {"health": "healthy", "interval_ms": 400, "last_seen_at": None} | more


def test_instances_are_sorted_the_worst_first():
    listed = [
        instance("fine"),
        instance("paused", state="paused_by_user"),
        instance("silent", registered=False),
        instance("ill", health="unhealthy"),
        instance("gone", state="gone"),
    ]
    found = INSTANCES.sorted_items({"instances": listed})
    assert [one["uuid"] for one in found] == ["gone", "ill", "silent", "paused", "fine"]


def test_faults_that_are_over_come_last_and_say_why_somebody_was_not_told():
    def fault(name, status, severity, **delivery):
        told = {"sink": "nova", "state": "done", "attempts": 1} | delivery
        empty = dict.fromkeys(
            ("raised_at", "cleared_at", "kind", "instance_name", "instance_uuid", "host", "detail")
        )
        return empty | {"id": name, "status": status, "severity": severity, "deliveries": [told]}

    held = {"state": "pending", "last_error": "evacuation is off"}
    listed = [
        fault("over", "cleared", "critical"),
        fault("minor", "raised", "minor", **held),
        fault("worst", "raised", "critical", state="suppressed", last_error=None),
    ]
    found = FAULTS.sorted_items({"faults": listed})
    assert [one["id"] for one in found] == ["worst", "minor", "over"]
    told = next(column for column in FAULTS.columns if column.name == "told")
    assert [told.get(one) for one in found] == [
        "nova suppressed",
        "nova pending (evacuation is off)",
        "nova done",
    ]


def test_a_narrow_terminal_goes_without_what_can_be_spared():
    columns = [
        Column("needed", str),
        Column("spared first", str, spare=2),
        Column("spared", str, spare=1),
        Column("cut", str, elastic=True),
    ]
    rows = [[Cell("x" * 10), Cell("x" * 20), Cell("x" * 10), Cell("x" * 500)]]
    assert fitting(columns, rows, 200) == {0: 10, 1: 20, 2: 10, 3: 152}
    assert fitting(columns, rows, 60) == {0: 10, 1: 20, 2: 10, 3: 12}
    assert fitting(columns, rows, 59) == {0: 10, 2: 10, 3: 33}
    assert fitting(columns, rows, 5) == {0: 10, 3: 12}


def test_in_a_pipe_only_what_has_changed_is_said_again(capsys):
    def host(name, **more):
        fine = {"host": name, "state": "online", "guests": 1, "lateness_ms": 1.0}
        return fine | {"agent_version": "1"} | more

    lines = Lines(HOSTS, as_json=False)
    lines.take({"hosts": [host("a"), host("b")]}, "")
    lines.take({"hosts": [host("a"), host("b", state="offline")]}, "")
    lines.take(None, "http://x: refused")
    lines.take(None, "http://x: refused")
    said = capsys.readouterr()
    assert [line.split("\t")[:2] for line in said.out.splitlines()] == [
        ["HOST", "STATE"],
        ["a", "online"],
        ["b", "online"],
        ["b", "offline"],
    ]
    assert said.err == "reachthru: http://x: refused; trying again\n"
