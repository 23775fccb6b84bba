"""What heartbeats cost the compute node: the real host agent before many directory guests.

The guests are played by processes of their own, which answer each challenge after a seeded
random 0-20 ms; their cost is not counted. The reference relay stands before the same kind of
guests, right after the agent.

With 4,000 guests at 200 ms the players take more than half a core, beside the agent's half: on two
cores that leaves nothing over, and what comes late may be theirs.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.player import Players
from benchmarks.process import cpu_s, rss_mib
from benchmarks.results import Result, percentile
from reachthru.demo.stack import Stack

SETTLE_S = 2.5

CASES = [  # guests, interval_ms, seconds measured
    (95, 1000, 8),
    (95, 200, 6),
    (500, 1000, 8),
    (500, 200, 6),
    (1000, 1000, 10),
    (1000, 200, 8),
    (4000, 1000, 8),
    (4000, 200, 6),
]


def run() -> list[Result]:
    _raise_file_limit()
    return [result for case in CASES for result in measure(*case)]


def measure(count: int, interval_ms: int, seconds: int) -> list[Result]:
    name = f"{count}x{interval_ms}ms"
    print(f"heartbeats of {count} guests at {interval_ms} ms: {seconds} s each ...", flush=True)
    agent = _measure_agent(count, interval_ms, seconds)
    floor = _measure_reference(count, interval_ms, seconds)
    late_ms, floor_late_ms = agent.lateness_ms(interval_ms), floor.lateness_ms(interval_ms)
    share = agent.cpu_s / seconds * 100
    detail = f"{share:.1f} % of a core, {agent.round_trips} round trips"
    late = f"p50 {percentile(late_ms, 0.5):.1f}, max {late_ms[-1]:.1f}"
    start = f"from the agent's start; {count} guests waited for it"
    return [
        Result(f"heartbeat_cpu.{name}", agent.cost_us, "us a round trip", floor.cost_us, detail),
        Result(
            f"lateness_p99.{name}",
            percentile(late_ms, 0.99),
            "ms",
            percentile(floor_late_ms, 0.99),
            late,
        ),
        Result(f"agent_rss.{name}", agent.rss_mib, "MiB", floor.rss_mib),
        Result(f"agent_start.{name}", agent.start_s * 1000, "ms to all registered", None, start),
    ]


class Measured:
    """What one process cost while it heartbeated, and what its guests saw."""

    def __init__(
        self, cpu: float, rss: float, start: float, guests: list[dict[str, Any]], before: int
    ) -> None:
        self.cpu_s = cpu
        self.rss_mib = rss
        self.start_s = start
        self.round_trips: int = sum(guest["answers"] for guest in guests) - before
        self._gaps_ms = [gap for guest in guests for gap in guest["gaps_ms"][2:]]

    @property
    def cost_us(self) -> float:
        return self.cpu_s / self.round_trips * 1e6

    def lateness_ms(self, interval_ms: int) -> list[float]:
        """By how much each challenge came later than one interval after the one before; sorted."""
        return sorted(max(0.0, gap - interval_ms) for gap in self._gaps_ms)


def _measure_agent(count: int, interval_ms: int, seconds: int) -> Measured:
    """The real host agent with its real settings, and the controller that it reports to."""
    stack = Stack("directory")
    try:
        stack.start_controller()
        with Players(stack.ports, count, interval_ms) as player:
            started_at = time.monotonic()
            stack.start_host_agent()
            assert stack.host_agent is not None
            return _measure(stack.host_agent.pid, player, started_at, seconds)
    finally:
        stack.close()


def _measure_reference(count: int, interval_ms: int, seconds: int) -> Measured:
    with (
        tempfile.TemporaryDirectory(prefix="reachthru-bench-") as folder,
        Players(Path(folder), count, interval_ms) as player,
    ):
        command = [sys.executable, "-m", "benchmarks.reference_relay", folder, str(interval_ms)]
        started_at = time.monotonic()
        relay = subprocess.Popen(command)
        try:
            return _measure(relay.pid, player, started_at, seconds)
        finally:
            relay.kill()
            relay.wait()


def _measure(pid: int, player: Players, started_at: float, seconds: int) -> Measured:
    player.wait_until_all_beat()
    time.sleep(SETTLE_S)
    before = player.summary()
    cpu_before = cpu_s(pid)
    time.sleep(seconds)
    cpu = cpu_s(pid) - cpu_before
    start_s = max(guest["acknowledged_at"] for guest in before) - started_at
    answers = sum(guest["answers"] for guest in before)
    return Measured(cpu, rss_mib(pid), start_s, player.summary(), answers)


def _raise_file_limit() -> None:
    """The player, a child of this process, holds two sockets a guest."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
