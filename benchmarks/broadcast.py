"""Broadcasts from guest to guest, through host agents and the controller, on one host and on two.

The reference is the carrier's library alone: as many bytes, over the same broker, from one client
to as many others; in turns with ours, so that whatever else this machine does is in both. A
broadcast of ours passes the broker twice, once a host, and each agent tells its own guests.

Not every size of message, group and number of hosts is crossed with every other: latency grows
with the message a little, and with the group's members alike on one host and on two.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import broadcast_rate
from benchmarks.broadcast_parts import OTHER_HOST, Case, Raw, cloud, cpu_of, daemons, idle_share
from benchmarks.group_guests import GroupGuests
from benchmarks.raw_broadcast import text_of
from benchmarks.results import Result, percentile
from reachthru.demo.stack import HOST, Stack
from servers.mosquitto import MosquittoServer
from servers.rabbitmq import RabbitMqServer

WARM_UP = 10
PERIOD_S = 0.074  # ours and the reference half of it apart: under a guest's rate, in step with none


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
# The sender of each is on a host with so many more guests, which are heartbeated at this interval.
BESIDE = {
    Case(2, 100, messages=100): (HOST, 500, 1000),
    Case(2, 100, messages=100, number=1): (OTHER_HOST, 500, 200),
}
RABBIT = (Case(2, 100), Case(2, 3050, hosts=1), Case(10, 100), Case(50, 3050, messages=60))


def run() -> list[Result]:
    results = []
    with tempfile.TemporaryDirectory() as folder, MosquittoServer(Path(folder)) as broker:
        bus = f"url = {broker.url}"
        results += measure("mqtt", broker.url, bus, MQTT)
        results += beside_heartbeats(broker.url, bus)
        results += broadcast_rate.measure("mqtt", broker.url, bus)
    with RabbitMqServer() as rabbit, tempfile.TemporaryDirectory() as folder:
        password = Path(folder) / "password"
        password.write_text("guest")
        password.chmod(0o600)
        url = f"rabbit://127.0.0.1:{rabbit.port}/"
        bus = f"url = {url}\nusername = guest\npassword_file = {password}"
        results += measure("rabbit", rabbit.url, bus, RABBIT)
        results += broadcast_rate.measure("rabbit", rabbit.url, bus)
    return results


def measure(carrier: str, url: str, bus: str, cases: Sequence[Case]) -> list[Result]:
    """`url` is the broker's for the reference, `bus` what our settings say of it."""
    results = []
    with cloud(bus, cases) as (stack, guests):
        idle = idle_share(stack)
        for case in cases:
            print(f"broadcast: {carrier}, {case.name} ...", flush=True)
            results += _results(
                case,
                _measure(stack, guests, idle, case, carrier=carrier, url=url),
                carrier,
                plain=case is cases[0],
            )
    return results


def beside_heartbeats(url: str, bus: str) -> list[Result]:
    """An agent that is busy reads its guests on ticks only, so a broadcast waits for the next."""
    results = []
    heartbeats = {host: (count, interval_ms) for host, count, interval_ms in BESIDE.values()}
    with cloud(bus, list(BESIDE), heartbeats) as (stack, guests):
        for case, (_host, count, interval_ms) in BESIDE.items():
            beside = f"beside_{count}x{interval_ms}ms"
            print(f"broadcast: mqtt, {beside} ...", flush=True)
            measured = _measure(stack, guests, 0.0, case, carrier="mqtt", url=url)
            # What a delivery costs is lost in what heartbeats do.
            results.append(_p50(case, measured, f"mqtt.{beside}"))
    return results


def _measure(
    stack: Stack, guests: GroupGuests, idle: float, case: Case, *, carrier: str, url: str
) -> Measured:
    pids = daemons(stack)
    guests.arrivals.clear()
    count = WARM_UP + case.messages
    with (
        Raw(carrier, url, "receive", 1, case.members - 1) as receivers,
        Raw(carrier, url, "send", 1) as sender,
    ):
        raw = [receivers.process.pid, sender.process.pid]
        began = time.monotonic() + 0.2
        order = {"at": began + PERIOD_S / 2, "period_s": PERIOD_S, "count": count}
        sender.order({**order, "bytes": case.size_bytes})
        sent_at = {}
        for number in range(count):
            time.sleep(max(0.0, began + number * PERIOD_S - time.monotonic()))
            if number == WARM_UP:
                before_s, raw_before_s = cpu_of(pids), cpu_of(raw)
            text = text_of(number, case.size_bytes)
            sent_at[number] = guests.broadcast(case.group()[0], text)
        time.sleep(PERIOD_S * 2)  # the last ones arrive
        cpu_us = (cpu_of(pids) - before_s - idle * PERIOD_S * (case.messages + 2)) * 1e6
        raw_cpu_us = (cpu_of(raw) - raw_before_s) * 1e6
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
    name = carrier if plain else f"{carrier}.{case.name}"
    return [
        _p50(case, measured, name),
        Result(
            f"broadcast_cpu.{name}",
            measured.cpu_us,
            "us",
            measured.raw_cpu_us,
            "a delivery; controller and agents, reference all clients",
        ),
    ]


def _p50(case: Case, measured: Measured, name: str) -> Result:
    ours_ms, raw_ms = measured.ours_ms, measured.raw_ms
    detail = (
        f"p99 {percentile(ours_ms, 0.99):.1f}, reference {percentile(raw_ms, 0.99):.1f};"
        f" {len(ours_ms)} of {case.messages * (case.members - 1)} arrived, reference {len(raw_ms)}"
    )
    return Result(
        f"broadcast_p50.{name}",
        percentile(ours_ms, 0.5),
        "ms",
        percentile(raw_ms, 0.5),
        detail if case.name in name else f"{case.name}; {detail}",
    )


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
