"""How late a hang is found: guests stop answering at random moments.

`detected` minus the deadline by which the answer should have been there, as the fault itself
says; what a guest's interval adds before that is the guest's own choice. With nothing else to do
for the machine, and beside eight processes that would take all of it: at the priority that the
systemd unit gives the agent, and without. An agent that could not run for more than 50 ms gives
its guests that time back, and their deadlines move by it; how often is said beside the figures.
"""

import contextlib
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.player import SEED, Player
from benchmarks.results import Result, percentile
from reachthru.demo.stack import Stack

GUESTS = 300
INTERVAL_MS = 1000
HANGING = 200
SPREAD_S = 12.0
SETTLE_S = 3.0  # the last guest has its interval, and then some, before faults are counted
LIMIT_S = 20.0
BUSY_PROCESSES = 8
UNIT_NICE = -20  # packaging/systemd/reachthru-host.service

_GIVEN_BACK = re.compile(r"it woke (\d+) ms late")


@dataclass(frozen=True)
class Case:
    name: str
    busy_processes: int
    nice: int


CASES = [
    Case("idle", 0, 0),
    Case("loaded", BUSY_PROCESSES, UNIT_NICE),
    Case("loaded_plain", BUSY_PROCESSES, 0),
]


def run() -> list[Result]:
    return [result for case in CASES for result in measure(case)]


def measure(case: Case) -> list[Result]:
    print(
        f"detection, {case.name}: {HANGING} of {GUESTS} guests hang within {SPREAD_S:g} s,"
        f" seed {SEED} ...",
        flush=True,
    )
    chance = random.Random(SEED)
    moments = sorted(chance.uniform(0, SPREAD_S) for _ in range(HANGING))
    with Stack("directory") as stack, Player(stack.ports, GUESTS, INTERVAL_MS) as player:
        player.wait_until_all_beat()
        assert stack.host_agent is not None
        _renice(stack.host_agent.pid, case.nice)
        with _busy(case.busy_processes):
            started_at = time.monotonic()
            for index, moment in enumerate(moments):
                time.sleep(max(0.0, started_at + moment - time.monotonic()))
                player.hang(index)
            time.sleep(SETTLE_S)
        until = time.monotonic() + LIMIT_S
        while len(stack.consumer.deliveries()) < HANGING and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(2 * INTERVAL_MS / 1000)
        faults = [delivery.fault for delivery in stack.consumer.deliveries()]
        given_back_ms = [int(ms) for ms in _GIVEN_BACK.findall(stack.host_agent.log_text())]
        hung = {guest["uuid"] for guest in player.summary()[:HANGING]}
    return _results(case, faults, hung, given_back_ms)


def _results(
    case: Case, faults: list[dict[str, Any]], hung: set[str], given_back_ms: list[int]
) -> list[Result]:
    raised = [fault for fault in faults if fault["status"] == "raised"]
    right = {str(f["instance_uuid"]): f for f in raised if f["instance_uuid"] in hung}
    late_ms = sorted(-moment for moment in _stages_ms(right.values(), "deadline"))
    told_ms = sorted(_stages_ms(right.values(), "stored"))
    detail = (
        f"p50 {percentile(late_ms, 0.5):.1f}, max {late_ms[-1]:.1f};"
        f" {len(right)} of {HANGING} found; stored by the controller"
        f" {percentile(told_ms, 0.99):.1f} later (p99)"
    )
    if given_back_ms:
        detail += f"; {len(given_back_ms)} times given back, {max(given_back_ms)} ms at most"
    false = len(faults) - len(right)
    return [
        Result(
            f"detection_overhead_p99.{case.name}", percentile(late_ms, 0.99), "ms", detail=detail
        ),
        Result(f"detection_false.{case.name}", false, "faults", detail=f"of {GUESTS} guests"),
    ]


def _stages_ms(faults: Iterable[dict[str, Any]], stage: str) -> list[float]:
    """From detection to that stage, of those that have it."""
    return [fault["stages_ms"][stage] for fault in faults if stage in fault["stages_ms"]]


def _renice(pid: int, nice: int) -> None:
    """All of the process's threads: one that has to wait while it holds Python's lock holds all."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(task.name), nice)


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
