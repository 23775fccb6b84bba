"""What benchmarks of broadcasts run: a cloud with groups of guests, and the reference."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.group_guests import GroupGuests
from benchmarks.player import Player
from benchmarks.process import cpu_s
from reachthru.demo.stack import HOST, Stack

OTHER_HOST = "compute-1"
IDLE_S = 3.0
SETTLE_S = 2.5  # what registrations cost the controller is over by then
NOBODY: Mapping[str, tuple[int, int]] = MappingProxyType({})


@dataclass(frozen=True)
class Case:
    """A group of so many guests, of which one broadcasts so many bytes."""

    members: int
    size_bytes: int
    hosts: int = 2
    messages: int = 80
    number: int = 0  # among groups alike; the first member of every other one is on the other host

    @property
    def name(self) -> str:
        where = "two_hosts" if self.hosts == 2 else "same_host"
        return f"{self.members}x{self.size_bytes}B.{where}" + (
            f".{self.number}" * bool(self.number)
        )

    def group(self) -> list[str]:
        """Its members' ids; the first one broadcasts."""
        return [f"{self.name}-{number}" for number in range(self.members)]

    def host_of(self, number: int) -> str:
        return HOST if self.hosts == 1 or (number + self.number) % 2 == 0 else OTHER_HOST


@contextmanager
def cloud(
    bus: str, cases: Sequence[Case], heartbeats: Mapping[str, tuple[int, int]] = NOBODY
) -> Iterator[tuple[Stack, GroupGuests]]:
    """A controller, two agents, and every case's guests in their group.

    `heartbeats`: by host, how many more guests there do nothing else, and at which interval in ms.
    """
    groups = {case.name: case.group() for case in cases}
    guests = GroupGuests()
    with ExitStack() as players, Stack("directory", groups=groups, bus=bus) as stack:
        ports: Mapping[str, Path] = {HOST: stack.ports, OTHER_HOST: stack.add_host(OTHER_HOST)}
        for case in cases:
            for number, uuid in enumerate(case.group()):
                guests.appear(ports[case.host_of(number)], uuid)
        with guests:
            wanted = {uuid for group in groups.values() for uuid in group}
            stack.wait_until(partial(_all_run, stack, wanted), "the guests at the controller")
            for host, (count, interval_ms) in heartbeats.items():
                player = players.enter_context(Player(ports[host], count, interval_ms))
                player.wait_until_all_beat()
            if heartbeats:
                time.sleep(SETTLE_S)
            yield stack, guests


def _all_run(stack: Stack, wanted: set[str]) -> bool:
    found = (stack.get("/v1/instances") or {"instances": []})["instances"]
    return wanted <= {item["uuid"] for item in found if item["state"] == "running"}


def daemons(stack: Stack) -> list[int]:
    found = (stack.controller, stack.host_agent, *stack.more_agents)
    return [daemon.pid for daemon in found if daemon is not None]


def cpu_of(pids: Sequence[int]) -> float:
    return sum(cpu_s(pid) for pid in pids)


def idle_share(stack: Stack) -> float:
    """CPU seconds a second of the daemons while nobody broadcasts."""
    pids = daemons(stack)
    time.sleep(1.0)
    before_s, began = cpu_of(pids), time.monotonic()
    time.sleep(IDLE_S)
    return (cpu_of(pids) - before_s) / (time.monotonic() - began)


class Raw:
    """One process of the reference. Entering returns when it is ready."""

    def __init__(self, carrier: str, url: str, role: str, *numbers: int) -> None:
        self._command = [sys.executable, "-W", "ignore", "-m", "benchmarks.raw_broadcast"]
        self._command += [carrier, url, role, *map(str, numbers)]

    def __enter__(self) -> "Raw":
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._line().strip() != "ready":
            raise RuntimeError(f"the reference did not start: {' '.join(self._command)}")
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def order(self, order: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[int, Any]:
        """Moments by number."""
        self.order({})
        return {int(number): moments for number, moments in json.loads(self._line()).items()}

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()
