"""What heartbeats cost the compute node: the real host agent before many directory guests.

The guests are played by a process of their own, which answers each challenge after a seeded
random 0-20 ms; its cost is not counted. The reference relay stands before the same kind of
guests, right after the agent.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.player import Player
from benchmarks.process import cpu_s, rss_mib
from benchmarks.results import Result, percentile
from reachthru.demo.stack import Stack

SETTLE_S = 4.0

CASES = [  # guests, interval_ms, seconds measured
    (100, 1000, 20),
    (1000, 1000, 20),
    (1000, 200, 15),
]


def run() -> list[Result]:
    results = []
    for count, interval_ms, seconds in CASES:
        name = f"{count}x{interval_ms}ms"
        print(f"heartbeats of {count} guests at {interval_ms} ms: {seconds} s each ...", flush=True)
        agent = _measure_agent(count, interval_ms, seconds)
        floor = _measure_reference(count, interval_ms, seconds)
        gaps = agent.lateness_ms(interval_ms)
        share = agent.cpu_s / seconds * 100
        detail = f"{share:.1f} % of a core, {agent.round_trips} round trips"
        results += [
            Result(
                f"heartbeat_cpu.{name}", agent.cost_us, "us a round trip", floor.cost_us, detail
            ),
            Result(
                f"lateness_p99.{name}",
                percentile(gaps, 0.99),
                "ms",
                percentile(floor.lateness_ms(interval_ms), 0.99),
                f"p50 {percentile(gaps, 0.5):.1f}, max {gaps[-1]:.1f}",
            ),
            Result(f"agent_rss.{name}", agent.rss_mib, "MiB", floor.rss_mib),
        ]
    return results


class Measured:
    """What one process cost while it heartbeated, and what its guests saw."""

    def __init__(self, cpu: float, rss: float, guests: list[dict[str, Any]], before: int) -> None:
        self.cpu_s = cpu
        self.rss_mib = rss
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
    with Stack("directory") as stack:
        assert stack.host_agent is not None
        with Player(stack.ports, count, interval_ms) as player:
            return _measure(stack.host_agent.pid, player, seconds)


def _measure_reference(count: int, interval_ms: int, seconds: int) -> Measured:
    with (
        tempfile.TemporaryDirectory(prefix="reachthru-bench-") as folder,
        Player(Path(folder), count, interval_ms) as player,
    ):
        command = [sys.executable, "-m", "benchmarks.reference_relay", folder, str(interval_ms)]
        relay = subprocess.Popen(command)
        try:
            return _measure(relay.pid, player, seconds)
        finally:
            relay.kill()
            relay.wait()


def _measure(pid: int, player: Player, seconds: int) -> Measured:
    player.wait_until_all_beat()
    time.sleep(SETTLE_S)
    before = sum(guest["answers"] for guest in player.summary())
    cpu_before = cpu_s(pid)
    time.sleep(seconds)
    cpu = cpu_s(pid) - cpu_before
    return Measured(cpu, rss_mib(pid), player.summary(), before)
