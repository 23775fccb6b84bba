"""What `make bench` says of a figure, to people and to programs."""

import io
import json

import pytest
from benchmarks import results
from benchmarks.goals import GOALS, Goal, goal_of
from benchmarks.results import Result, percentile, report, show, write
from rich.console import Console


def shown(*figures):
    text = io.StringIO()
    show(figures, Console(file=text))
    return text.getvalue()


@pytest.mark.parametrize(
    ("goal", "value", "ratio", "is_met"),
    [
        (Goal(value=14), 14.0, None, True),
        (Goal(value=14), 14.1, 1.0, False),
        (Goal(ratio=2), 900.0, 2.0, True),
        (Goal(ratio=2), 1.0, 2.01, False),
        (Goal(ratio=2), 1.0, None, False),
        (Goal(value=45, ratio=2.5), 44.0, 2.6, False),
        (Goal(value=45, ratio=2.5), 44.0, 2.4, True),
    ],
)
def test_a_goal_is_met_by_value_and_by_ratio(goal, value, ratio, is_met):
    assert goal.is_met(value, ratio) is is_met


def test_a_ratio_is_of_the_reference_of_the_same_run():
    assert Result("x", 3.0, "ms", 2.0).ratio == 1.5
    assert Result("x", 3.0, "ms").ratio is None
    assert Result("x", 3.0, "ms", 0.0).ratio is None


def test_a_result_finds_its_goal_by_its_name():
    assert goal_of("guest_rss") is GOALS["guest_rss"]
    assert goal_of("broadcast_p50.mqtt.50x3050B.two_hosts") == Goal(ratio=2)
    assert goal_of("guest_cpu.100ms") is None
    assert Result("guest_cpu.100ms", 5.0, "%").met is None


def test_every_goal_has_a_group_of_the_tables():
    assert {name.partition("_")[0] for name in GOALS} <= set(results.GROUPS)


def test_the_file_has_every_figure_its_verdict_and_what_it_was_measured_on(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "BENCH_JSON", tmp_path / "build/bench.json")
    write(
        [Result("guest_rss", 15.0, "MiB", 10.0, "of a test"), Result("other", 1.0, "s")],
        ["heartbeat"],
    )
    found = json.loads((tmp_path / "build/bench.json").read_text())
    assert found["results"] == [
        {
            "name": "guest_rss",
            "value": 15.0,
            "unit": "MiB",
            "reference": 10.0,
            "detail": "of a test",
            "ratio": 1.5,
            "goal": {"value": 14, "ratio": None},
            "met": False,
        },
        {
            "name": "other",
            "value": 1.0,
            "unit": "s",
            "reference": None,
            "detail": "",
            "ratio": None,
            "goal": None,
            "met": None,
        },
    ]
    assert found["failed"] == ["heartbeat"]
    assert {"cpu", "cores", "memory_mib", "kernel", "python"} <= set(found["machine"])
    assert set(found) == {"machine", "commit", "dirty", "failed", "results"}


def test_a_program_that_is_not_here_is_not_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    found = report([])
    assert "qemu" not in found["machine"]
    assert (found["commit"], found["dirty"]) == ("", False)


def test_people_see_groups_goals_and_what_was_missed():
    text = shown(
        Result("heartbeat_cpu.1000x1000ms", 30.2, "us", 15.0),
        Result("guest_rss", 15.0, "MiB", 10.0),
        Result("guest_cpu.100ms", 0.35, "%"),
    )
    titles = [line.split(":")[0] for line in text.splitlines() if line.startswith(("Hear", "Gue"))]
    assert [title.strip() for title in titles] == ["Heartbeat", "Guest daemon"]
    assert "<= 45, <= 2.5x: met" in text
    assert "<= 14: not met" in text
    assert "1 of 2 goals met; not met: guest_rss" in text


def test_no_figure_is_shown_as_nothing():
    assert "0.058 %" in shown(Result("guest_cpu.1000ms", 0.0583, "%"))
    assert "12345 us" in shown(Result("x", 12345.4, "us"))


def test_a_percentile_of_few_values_is_one_of_them():
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([1.0], 0.99) == 1.0
