"""Doctor's events in Vitrage's shape, as Vitrage's own Doctor datasource understands them."""

import json
import subprocess
from pathlib import Path

from reachthru.controller_server.sinks.doctor import SHAPES

PYTHON = Path(__file__).parents[3] / ".venv-vitrage/bin/python"


def alarms(*faults):
    """That Vitrage has after these changes, by name."""
    assert PYTHON.exists(), "run tools/setup-services vitrage"
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("doctor_in_vitrage.py")],
        input=json.dumps([SHAPES["vitrage"].body(fault) for fault in faults]),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {alarm["name"]: alarm for alarm in json.loads(done.stdout)}


def test_two_instances_on_one_host_have_an_alarm_each(make_fault):
    first, second = make_fault(), make_fault()
    names = [f"compute.instance.heartbeat_lost.{one.instance_uuid}" for one in (first, second)]
    found = alarms(first, second)
    assert set(found) == set(names)
    assert {(one["on"], one["severity"]) for one in found.values()} == {("compute-0", "critical")}

    cleared = make_fault(
        id=first.id, instance_uuid=first.instance_uuid, status="cleared", cleared_at=first.raised_at
    )
    assert set(alarms(first, second, cleared)) == {names[1]}


def test_what_is_told_again_changes_nothing(make_fault):
    """Vitrage fails over an alarm that it has, logs that, and keeps the alarm."""
    fault = make_fault()
    assert len(alarms(fault, fault, fault)) == 1


def test_a_lost_host_is_an_alarm_until_it_is_back(make_fault):
    lost = make_fault("host_lost")
    assert set(alarms(lost)) == {"compute.host.down"}
    assert alarms(lost, make_fault("host_lost", status="cleared")) == {}
