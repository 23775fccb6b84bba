"""The whole demo without a VM: real daemons, a simulated port."""

import argparse
import json

import pytest

from reachthru.demo import command, group_scenario, scenario

STEPS = (*scenario.STEPS, *group_scenario.STEPS)


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser


def test_without_qemu_the_same_steps_are_played_and_labelled(parser, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "QEMU", "no-such-qemu")
    results = tmp_path / "new" / "demo.json"
    args = parser.parse_args(["demo", "--json", str(results)])
    code = args.run(args)
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert "Simulated port, for want of a VM: no-such-qemu is not installed" in shown
    demo = json.loads(results.read_text())
    assert demo["transport"] == "simulated"
    assert demo["hypervisor"] is None
    assert tuple(step["name"] for step in demo["steps"]) == STEPS
    assert all(step["ok"] for step in demo["steps"])
    for step in demo["steps"][:2]:
        assert step["detected_ms"] is None and step["consumer_ms"] is None
    for step in demo["steps"][2:6]:
        assert 0 < step["detected_ms"] < step["consumer_ms"]
    for step in demo["steps"][6:]:
        assert step["detected_ms"] is None and step["consumer_ms"] > 0


def test_a_stack_that_does_not_start_fails_the_demo_and_says_why(
    parser, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(command, "QEMU", "no-such-qemu")
    monkeypatch.setattr("reachthru.demo.stack.installed", lambda program: f"/nowhere/{program}")
    results = tmp_path / "demo.json"
    args = parser.parse_args(["demo", "--json", str(results)])
    assert args.run(args) == 1
    assert "reachthru-controller is not installed here" in capsys.readouterr().out
    assert not any(step["ok"] for step in json.loads(results.read_text())["steps"])
