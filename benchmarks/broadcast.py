"""Broadcasts from guest to guest, through host agents and the controller, on one host and on two.

The reference is the carrier's library alone: as many bytes, over the same broker, from one client
to as many others; in turns with ours, so that whatever else this machine does is in both. A
broadcast of ours passes the broker twice, once a host, and each agent tells its own guests.

Not every size of message, group and number of hosts is crossed with every other: latency grows
with the message a little, and with the group's members alike on one host and on two.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.group_guests import GroupGuests
from benchmarks.process import cpu_s
from benchmarks.raw_broadcast import text_of
from benchmarks.results import Result, percentile
from reachthru.demo.stack import HOST, Stack
from servers.mosquitto import MosquittoServer
from servers.rabbitmq import RabbitMqServer

OTHER_HOST = "compute-1"
WARM_UP = 10
PERIOD_S = 0.074  # ours and the reference half of it apart: under a guest's rate, in step with none
IDLE_S = 3.0
LIMIT_S = 20.0


@dataclass(frozen=True)
class Case:
    """A group of so many guests, of which one broadcasts so many bytes."""

    members: int
    size_bytes: int
    hosts: int = 2
    messages: int = 80

    @property
    def name(self) -> str:
        where = "two_hosts" if self.hosts == 2 else "same_host"
        return f"{self.members}x{self.size_bytes}B.{where}"

    def group(self) -> list[str]:
        """Its members' ids; the first one broadcasts."""
        return [f"{self.name}-{number}" for number in range(self.members)]

    def host_of(self, number: int) -> str:
        return HOST if self.hosts == 1 or number % 2 == 0 else OTHER_HOST


@dataclass(frozen=True)
class Measured:
    """Ours and the reference: latencies, sorted; CPU of a delivery."""

    ours_ms: list[float]
    raw_ms: list[float]
    cpu_us: float
    raw_cpu_us: float


# The first is what the plain names stand for.
MQTT = (
    Case(2, 100, messages=150),
    Case(2, 100, hosts=1),
    Case(2, 3050),
    Case(10, 100),
    Case(50, 100),
    Case(50, 3050),
    Case(50, 3050, hosts=1),
)
RABBIT = (Case(2, 100), Case(2, 3050, hosts=1), Case(10, 100), Case(50, 3050, messages=60))


def run() -> list[Result]:
    results = []
    with tempfile.TemporaryDirectory() as folder, MosquittoServer(Path(folder)) as broker:
        results += measure("mqtt", broker.url, f"url = {broker.url}", MQTT)
    with RabbitMqServer() as rabbit, tempfile.TemporaryDirectory() as folder:
        password = Path(folder) / "password"
        password.write_text("guest")
        password.chmod(0o600)
        url = f"rabbit://127.0.0.1:{rabbit.port}/"
        bus = f"url = {url}\nusername = guest\npassword_file = {password}"
        results += measure("rabbit", rabbit.url, bus, RABBIT)
    return results


def measure(carrier: str, url: str, bus: str, cases: Sequence[Case]) -> list[Result]:
    """`url` is the broker's for the reference, `bus` what our settings say of it."""
    results = []
    with cloud(bus, cases) as (stack, guests):
        idle = _idle_share(stack)
        for case in cases:
            print(f"broadcast: {carrier}, {case.name} ...", flush=True)
            results += _results(
                case,
                _measure(stack, guests, idle, case, carrier=carrier, url=url),
                carrier,
                plain=case is cases[0],
            )
    return results


@contextmanager
def cloud(bus: str, cases: Sequence[Case]) -> Iterator[tuple[Stack, GroupGuests]]:
    """A controller, two agents, and every case's guests in their group."""
    groups = {case.name: case.group() for case in cases}
    guests = GroupGuests()
    with Stack("directory", groups=groups, bus=bus) as stack:
        ports: Mapping[str, Path] = {HOST: stack.ports, OTHER_HOST: stack.add_host(OTHER_HOST)}
        for case in cases:
            for number, uuid in enumerate(case.group()):
                guests.appear(ports[case.host_of(number)], uuid)
        with guests:
            wanted = {uuid for group in groups.values() for uuid in group}
            stack.wait_until(partial(_all_run, stack, wanted), "the guests at the controller")
            yield stack, guests


def _all_run(stack: Stack, wanted: set[str]) -> bool:
    found = (stack.get("/v1/instances") or {"instances": []})["instances"]
    return wanted <= {item["uuid"] for item in found if item["state"] == "running"}


def _daemons(stack: Stack) -> list[int]:
    daemons = (stack.controller, stack.host_agent, *stack.more_agents)
    return [daemon.pid for daemon in daemons if daemon is not None]


def _cpu_s(pids: Sequence[int]) -> float:
    return sum(cpu_s(pid) for pid in pids)


def _idle_share(stack: Stack) -> float:
    """CPU seconds a second of the daemons while nobody broadcasts."""
    pids = _daemons(stack)
    time.sleep(1.0)
    before_s, began = _cpu_s(pids), time.monotonic()
    time.sleep(IDLE_S)
    return (_cpu_s(pids) - before_s) / (time.monotonic() - began)


def _measure(
    stack: Stack, guests: GroupGuests, idle: float, case: Case, *, carrier: str, url: str
) -> Measured:
    daemons = _daemons(stack)
    guests.arrivals.clear()
    count = WARM_UP + case.messages
    with (
        Raw(carrier, url, "receive", str(case.members - 1)) as receivers,
        Raw(carrier, url, "send") as sender,
    ):
        raw = [receivers.process.pid, sender.process.pid]
        began = time.monotonic() + 0.2
        order = {"at": began + PERIOD_S / 2, "period_s": PERIOD_S, "count": count}
        receivers.order({})
        sender.order({**order, "bytes": case.size_bytes})
        sent_at = {}
        for number in range(count):
            time.sleep(max(0.0, began + number * PERIOD_S - time.monotonic()))
            if number == WARM_UP:
                before_s, raw_before_s = _cpu_s(daemons), _cpu_s(raw)
            text = text_of(number, case.size_bytes)
            sent_at[number] = guests.broadcast(case.group()[0], text)
        time.sleep(PERIOD_S * 2)  # the last ones arrive
        cpu_us = (_cpu_s(daemons) - before_s - idle * PERIOD_S * (case.messages + 2)) * 1e6
        raw_cpu_us = (_cpu_s(raw) - raw_before_s) * 1e6
        raw_sent_at, raw_arrivals = sender.answer(), receivers.answer()
    deliveries = case.messages * (case.members - 1)
    return Measured(
        _latencies_ms(sent_at, guests.arrivals),
        _latencies_ms(raw_sent_at, raw_arrivals),
        cpu_us / deliveries,
        raw_cpu_us / deliveries,
    )


def _results(case: Case, measured: Measured, carrier: str, *, plain: bool) -> list[Result]:
    """`plain`: under the name that says nothing of its case."""
    ours_ms, raw_ms = measured.ours_ms, measured.raw_ms
    detail = (
        f"p99 {percentile(ours_ms, 0.99):.1f}, reference {percentile(raw_ms, 0.99):.1f};"
        f" {len(ours_ms)} of {case.messages * (case.members - 1)} arrived, reference {len(raw_ms)}"
    )
    name = carrier if plain else f"{carrier}.{case.name}"
    return [
        Result(
            f"broadcast_p50.{name}",
            percentile(ours_ms, 0.5),
            "ms",
            percentile(raw_ms, 0.5),
            f"{case.name}; {detail}" if plain else detail,
        ),
        Result(
            f"broadcast_cpu.{name}",
            measured.cpu_us,
            "us",
            measured.raw_cpu_us,
            "a delivery; controller and agents, reference all clients",
        ),
    ]


def _latencies_ms(
    sent_at: Mapping[int, float], arrivals: Mapping[int, Sequence[float]]
) -> list[float]:
    """Of each delivery after the warm-up, sorted."""
    return sorted(
        (arrived_at - moment) * 1000
        for number, moment in sent_at.items()
        if number >= WARM_UP
        for arrived_at in arrivals.get(number, ())
    )


class Raw:
    """One process of the reference. Entering returns when it is ready."""

    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-W", "ignore", "-m", "benchmarks.raw_broadcast"]
        self._command += arguments

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
