"""What the demo measures."""

import time

import pytest

from reachthru.demo import scenario
from reachthru.demo.consumer import Delivery
from reachthru.demo.errors import DemoError
from reachthru.demo.guests import SimulatedGuest
from reachthru.demo.scenario import measure
from reachthru.demo.stack import Stack

RAISED = {
    "status": "raised",
    "raised_at": "2026-11-21T10:00:00.500000+00:00",
    "cleared_at": None,
    "stages_ms": {"last_good": -400.5, "deadline": -1.5, "detected": 0.0, "controller": 4.0},
}
DETECTED_S = 1795255200.5  # RAISED's raised_at


def test_times_are_relative_to_the_detection():
    delivery = Delivery(RAISED, arrived_at=100.610, wall_time_s=DETECTED_S + 0.010)
    stages = measure(delivery, injured_at=100.0)
    assert stages.last_good_ms == -400.5
    assert stages.deadline_ms == -1.5
    assert stages.controller_ms == 4.0
    assert stages.consumer_ms == pytest.approx(10, abs=0.01)
    assert stages.injury_ms == pytest.approx(-600, abs=0.01)


def test_a_cleared_fault_is_measured_from_its_clearing():
    cleared = {**RAISED, "status": "cleared", "cleared_at": "2026-11-21T10:00:02.500000+00:00"}
    delivery = Delivery(cleared, arrived_at=200.0, wall_time_s=DETECTED_S + 2.020)
    assert measure(delivery, injured_at=199.9).consumer_ms == pytest.approx(20, abs=0.01)


def test_a_stage_that_nobody_measured_is_unknown():
    delivery = Delivery({**RAISED, "stages_ms": {}}, arrived_at=1.0, wall_time_s=DETECTED_S)
    assert measure(delivery, injured_at=0.5).deadline_ms is None


class Quiet:
    """A view that shows nothing."""

    def begin(self, step, doing): ...
    def note(self, text): ...
    def end(self, step, text): ...
    def show_fault(self, fault, stages): ...


class Numb(SimulatedGuest):
    """Nothing makes it unhealthy."""

    def be_unhealthy(self):
        return time.monotonic()


def test_a_fault_that_is_not_told_ends_the_demo_there(monkeypatch):
    monkeypatch.setattr(scenario, "_FAULT_TIMEOUT_S", 0.5)
    with Stack() as stack:
        played = scenario.Scenario(stack, Quiet(), lambda: Numb(stack.folder, stack.ports))
        with pytest.raises(DemoError, match="no unhealthy raised at the consumer"):
            played.play()
    assert [step.name for step in played.steps if step.ok] == ["registration", "heartbeats"]
