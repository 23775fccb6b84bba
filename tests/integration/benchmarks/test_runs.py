"""Each benchmark of ours runs, with numbers too small to mean anything."""

import subprocess
import sys

import pytest
from benchmarks import __main__ as command
from benchmarks import broadcast, broadcast_rate, guest
from benchmarks.results import Result

from servers.mosquitto import MosquittoServer


def test_the_guest_daemon_and_its_reference_are_measured():
    found = {result.name: result for result in guest.here(starts=1, seconds=2)}
    assert set(found) == {"guest_rss", "guest_start", "guest_cpu.1000ms", "guest_cpu.100ms"}
    assert all(result.value > 0 and result.reference for result in found.values())


def test_every_broadcast_arrives_through_ours_and_the_reference(tmp_path):
    case = broadcast.Case(3, 3050, messages=3)
    with MosquittoServer(tmp_path) as broker:
        p50, cpu = broadcast.measure("mqtt", broker.url, f"url = {broker.url}", [case])
    assert (p50.name, cpu.name) == ("broadcast_p50.mqtt", "broadcast_cpu.mqtt")
    assert p50.value > 0 and p50.reference
    assert "6 of 6 arrived, reference 6" in p50.detail


def test_broadcasts_of_a_second_are_counted_where_all_of_a_group_got_them(tmp_path, monkeypatch):
    monkeypatch.setattr(broadcast_rate, "SENDING_S", 0.5)
    monkeypatch.setitem(broadcast_rate.STEPS_PER_S, "mqtt", (20,))
    monkeypatch.setitem(broadcast_rate.GROUPS, "mqtt", 1)
    with MosquittoServer(tmp_path) as broker:
        rate, cpu = broadcast_rate.measure("mqtt", broker.url, f"url = {broker.url}")
    assert (rate.name, cpu.name) == ("broadcast_rate.mqtt", "broadcast_cpu.mqtt.many")
    assert rate.value > 0 and rate.reference and cpu.reference


def test_a_broadcast_that_one_receiver_did_not_get_is_not_whole():
    all_got, one_missed = [0.1] * 9, [0.6] * 8
    step = broadcast_rate.step_of(2, {0: 0.0, 1: 0.5}, {0: all_got, 1: one_missed}, cpu_s=17e-6)
    assert (step.sent, step.whole, step.is_carried) == (2, 1, False)
    assert step.cpu_us == pytest.approx(1.0)


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Runs the command over two small benchmarks; gives what each wrote."""
    monkeypatch.chdir(tmp_path)
    ran = []

    def good():
        ran.append("good")
        return [Result("guest_rss", 1.0, "MiB")]

    def broken():
        raise RuntimeError("no broker")

    monkeypatch.setattr(command, "BENCHMARKS", {"broken": broken, "good": good})

    def run(*names):
        monkeypatch.setattr(sys, "argv", ["bench", *names])
        return command.main(), ran, (tmp_path / "build/bench.json")

    return run


def test_one_that_breaks_does_not_take_the_others_along(bench, capsys):
    status, ran, file = bench()
    assert (status, ran) == (1, ["good"])
    assert '"failed": [\n    "broken"\n  ]' in file.read_text()
    assert "broken: broken" in capsys.readouterr().err


def test_some_can_be_run_alone(bench):
    status, ran, file = bench("good")
    assert (status, ran) == (0, ["good"])
    assert "guest_rss" in file.read_text()


def test_a_name_that_is_none_is_refused_with_those_that_are(bench, capsys):
    with pytest.raises(SystemExit) as exit_:
        bench("goood")
    assert exit_.value.code == 2
    assert "no benchmark goood; there are broken, good" in capsys.readouterr().err


def test_names_come_through_make():
    shown = subprocess.run(
        ["make", "-n", "--no-print-directory", "bench", "BENCH=heartbeat guest"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.rstrip().endswith("python -m benchmarks heartbeat guest")
