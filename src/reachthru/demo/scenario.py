"""What the demo plays, step by step, and what it measures. Knows nothing of terminals."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from reachthru.demo.consumer import Delivery
from reachthru.demo.errors import DemoError
from reachthru.demo.guests import INTERVAL_MS, DemoGuest
from reachthru.demo.stack import Stack

STEPS = ("registration", "heartbeats", "unhealthy", "recovered", "kernel_panic", "qemu_killed")
_WATCH_S = 4.0
_FAULT_TIMEOUT_S = 30.0


@dataclass
class Step:
    """One step's result. Times are from the injury; None where there was none."""

    name: str
    ok: bool = False
    detected_ms: float | None = None
    consumer_ms: float | None = None


@dataclass(frozen=True)
class Stages:
    """One fault change, in milliseconds relative to its detection. None: not known."""

    last_good_ms: float | None
    deadline_ms: float | None
    controller_ms: float | None
    consumer_ms: float
    injury_ms: float


class View(Protocol):
    """Whoever shows it."""

    def begin(self, step: str, doing: str) -> None:
        """Something starts that takes a while."""

    def note(self, text: str) -> None:
        """A fact on the way."""

    def end(self, step: Step, text: str) -> None: ...

    def show_fault(self, fault: dict[str, Any], stages: Stages) -> None: ...


class Scenario:
    """Plays all of `STEPS` in order. `boot` makes a guest that has not been started yet."""

    def __init__(self, stack: Stack, view: View, make_guest: Callable[[], DemoGuest]) -> None:
        self.steps = [Step(name) for name in STEPS]
        self.guest: DemoGuest | None = None
        self._stack = stack
        self._view = view
        self._make_guest = make_guest

    def play(self) -> None:
        """Raises `DemoError` at the first step that is not seen; that one and those after it are
        not `ok`."""
        registration, heartbeats, unhealthy, recovered, panic, killed = self.steps
        with self._booted("the VM boots") as guest:
            self._register(registration, guest)
            self._watch(heartbeats, guest)
            self._injure(unhealthy, guest, guest.be_unhealthy, "unhealthy", "a health check fails")
            self._recover(recovered, guest)
            self._injure(panic, guest, guest.hang, "heartbeat_lost", "the guest's kernel panics")
        with self._booted("a second VM boots") as guest:
            self._stack.wait_registered(guest.uuid)
            self._injure(killed, guest, guest.kill, "instance_lost", "QEMU is killed")

    @contextmanager
    def _booted(self, doing: str) -> Iterator[DemoGuest]:
        self._view.note(doing)
        self.guest = self._make_guest()
        with self.guest as guest:
            yield guest

    def _register(self, step: Step, guest: DemoGuest) -> None:
        self._view.begin(step.name, "the guest daemon says hello to its host")
        instance = self._stack.wait_registered(guest.uuid)
        step.ok = True
        self._view.end(
            step,
            f"instance {guest.uuid[:8]} on {instance['host']}, "
            f"challenged every {instance['interval_ms']} ms",
        )

    def _watch(self, step: Step, guest: DemoGuest) -> None:
        self._view.begin(step.name, f"watching for {_WATCH_S:.0f} s")
        started_at, before = time.monotonic(), guest.status()
        time.sleep(_WATCH_S)
        after, watched_s = guest.status(), time.monotonic() - started_at
        answered = int(str(after["answered"])) - int(str(before["answered"]))
        due = int(watched_s * 1000 / INTERVAL_MS)
        faults = self._stack.active_faults(guest.uuid)
        if faults or answered < due - 2:  # the edges of the time that was watched
            raise DemoError(f"{answered} of {due} challenges answered; faults: {faults}")
        step.ok = True
        self._view.end(step, f"{answered} challenges answered in {watched_s:.1f} s, no fault")

    def _injure(
        self, step: Step, guest: DemoGuest, injure: Callable[[], float], kind: str, doing: str
    ) -> None:
        self._view.begin(step.name, doing)
        self._expect(step, guest, injure(), kind, "raised")

    def _recover(self, step: Step, guest: DemoGuest) -> None:
        self._view.begin(step.name, "the health check is well again")
        self._expect(step, guest, guest.be_healthy(), "unhealthy", "cleared")

    def _expect(
        self, step: Step, guest: DemoGuest, injured_at: float, kind: str, status: str
    ) -> None:
        delivery = self._stack.consumer.wait_for(
            lambda one: one.is_change(kind, status, guest.uuid), _FAULT_TIMEOUT_S, injured_at
        )
        if delivery is None:
            raise DemoError(f"no {kind} {status} at the consumer in {_FAULT_TIMEOUT_S:.0f} s")
        stages = measure(delivery, injured_at)
        step.ok = True
        step.detected_ms = round(-stages.injury_ms, 1)
        step.consumer_ms = round(stages.consumer_ms - stages.injury_ms, 1)
        self._view.end(step, f"{kind} {status}, the consumer knows after {step.consumer_ms:.0f} ms")
        self._view.show_fault(delivery.fault, stages)


def measure(delivery: Delivery, injured_at: float) -> Stages:
    """A delivery's times relative to the detection. All clocks are this machine's."""
    fault = delivery.fault
    changed_at = fault["cleared_at"] if fault["status"] == "cleared" else fault["raised_at"]
    consumer_ms = (delivery.wall_time_s - datetime.fromisoformat(changed_at).timestamp()) * 1000
    known = fault["stages_ms"]
    return Stages(
        last_good_ms=known.get("last_good"),
        deadline_ms=known.get("deadline"),
        controller_ms=known.get("controller"),
        consumer_ms=consumer_ms,
        injury_ms=consumer_ms - (delivery.arrived_at - injured_at) * 1000,
    )
