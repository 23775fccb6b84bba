"""Faults from 100 agents to three sinks: 100 a second, then 10,000 at once while one sink fails
half of the time. Stored at both ends before anything is forgotten.

The agents' outboxes, the brokers, the controller and its database are the real ones. The reference
is oslo.messaging alone, which stores nothing at either end: as many messages of the same size,
each confirmed by RabbitMQ. aiomqtt alone is measured beside it.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.fault_parts import SINKS, Scene, roomy_mosquitto
from benchmarks.results import Result, percentile
from servers.postgresql import PostgresqlServer
from servers.rabbitmq import RabbitMqServer

AGENTS = 100
GUESTS_EACH = 100
FAULTS = AGENTS * GUESTS_EACH
STEADY_RATE = 100  # faults a second
STEADY_COUNT = 800
REPORTS_RATE = 100
REPORTS = 500
MESSAGE_BYTES = 430  # of a fault change on the bus
BUSY_SHARE = 0.5  # of the webhook's answers, during the burst

STORM_HOSTS = 40
STORM_LOST_AFTER_S = 6.0

Raw = dict[str, float]


def run() -> list[Result]:
    with (
        tempfile.TemporaryDirectory() as folder,
        RabbitMqServer() as rabbit,
        roomy_mosquitto(Path(folder)) as mosquitto,
        PostgresqlServer() as postgresql,
    ):
        raw = _raw("rabbit", rabbit.url)
        raw_mqtt = _raw("mqtt", mosquitto.url)
        results = [
            Result("raw_burst.oslo", raw["took_s"], "s", None, _raw_detail(raw)),
            Result("raw_burst.aiomqtt", raw_mqtt["took_s"], "s", None, _raw_detail(raw_mqtt)),
        ]
        rabbit_url = f"rabbit://127.0.0.1:{rabbit.port}/"
        for name, url, user in (("mqtt", mosquitto.url, None), ("rabbit", rabbit_url, "guest")):
            results += _play(name, url, postgresql.make_database(), user, raw)
            results += _play(f"{name}.sqlite", url, None, user, raw)
        results.append(_storm(mosquitto.url, postgresql.make_database()))
    return results


def _raw(carrier: str, url: str) -> Raw:
    command = (carrier, url, str(FAULTS), str(MESSAGE_BYTES))
    print(f"faults: {FAULTS} messages through {carrier} alone ...", flush=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.raw_carriage", *command],
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: Raw = json.loads(done.stdout)
    return figures


def _raw_detail(raw: Raw) -> str:
    return f"{FAULTS} messages; {raw['cpu_us']:.0f} us of CPU each, sender and receiver"


def _play(name: str, url: str, database: str | None, user: str | None, raw: Raw) -> list[Result]:
    print(f"faults: {STEADY_RATE} a second, then {FAULTS} at once, {name} ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="reachthru-") as folder:
        scene = Scene(Path(folder), url, database, user)
        with scene.playing(AGENTS, GUESTS_EACH):
            steady = _steady(scene, name, database)
            reports = [_reports(scene, name, database)] if name == "mqtt" else []
            return [*steady, *reports, *_burst(scene, name, database, raw)]


def _steady(scene: Scene, name: str, database: str | None) -> list[Result]:
    cpu_before_s = scene.controller.cpu_s()
    scene.agents.do(f"steady {STEADY_RATE} {STEADY_COUNT}")
    scene.controller.wait_until_told()
    cpu_us = (scene.controller.cpu_s() - cpu_before_s) / STEADY_COUNT * 1e6
    told = _told_ms(scene, STEADY_COUNT)
    at_once = sorted([*told["log"], *told["mqtt"]])
    detail = (
        f"{STEADY_RATE}/s, {_kind(database)}, from detection: {_spread(told)};"
        f" controller {cpu_us:.0f} us of CPU a fault"
    )
    value = percentile(at_once, 0.99)
    return [Result(f"fault_steady_p99.{name}", value, "ms", None, detail)]


def _reports(scene: Scene, name: str, database: str | None) -> Result:
    """What presence costs the controller that leads: it writes reports down."""
    scene.agents.do("reports 20 20")  # nothing else is left to do
    cpu_before_s = scene.controller.cpu_s()
    scene.agents.do(f"reports {REPORTS_RATE} {REPORTS}")
    time.sleep(1.0)
    cpu_us = (scene.controller.cpu_s() - cpu_before_s) / REPORTS * 1e6
    detail = f"{REPORTS_RATE}/s of 50 instances, {_kind(database)}; the controller that leads"
    return Result(f"report_cpu.{name}", cpu_us, "us a report", None, detail)


def _burst(scene: Scene, name: str, database: str | None, raw: Raw) -> list[Result]:
    scene.webhook.busy_share = BUSY_SHARE
    cpu_before_s, rss_before_mib = scene.controller.cpu_s(), scene.controller.rss_mib()
    figures = scene.agents.do("burst")
    # Somebody is always unlucky ten times in a row, and rests for half a minute: not waited for.
    scene.controller.wait_until_told(leave_webhook=FAULTS // 10)
    cpu_us = (scene.controller.cpu_s() - cpu_before_s) / FAULTS * 1e6
    rss_mib = scene.controller.rss_mib()
    told = _told_ms(scene, FAULTS)
    told_s = {sink: told[sink][-1] / 1000 for sink in ("log", "mqtt")}
    stored = (
        f"{_kind(database)}; stored and acknowledged; all told: log {told_s['log']:.1f} s, mqtt"
        f" {told_s['mqtt']:.1f} s; 90 % told: webhook, which fails half of the time,"
        f" {told['webhook'][FAULTS * 9 // 10 - 1] / 1000:.1f} s"
    )
    cpu = f"controller with 3 sinks; the agents' {figures['cpu_us']:.0f}"
    growth_kib = (rss_mib - rss_before_mib) * 1024 / FAULTS
    return [
        Result(f"fault_burst.{name}", figures["took_s"], "s", raw["took_s"], stored),
        Result(f"fault_cpu.{name}", cpu_us, "us a fault", raw["cpu_us"], cpu),
        Result(
            f"fault_memory.{name}", growth_kib, "KiB a fault", None, f"controller {rss_mib:.0f} MiB"
        ),
    ]


def _storm(url: str, database: str) -> Result:
    """How much later than it could be known, anything was told."""
    print(f"faults: {STORM_HOSTS} hosts of {GUESTS_EACH} VMs die at once ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="reachthru-") as folder:
        scene = Scene(Path(folder), url, database, None)
        more = f"[hosts]\nlost_after_s = {STORM_LOST_AFTER_S}\n"
        with scene.playing(AGENTS, GUESTS_EACH, more):
            guests = STORM_HOSTS * GUESTS_EACH
            began = time.monotonic()
            figures = scene.agents.do(f"storm {STORM_HOSTS}")
            while len(scene.webhook.told) < guests + STORM_HOSTS:
                if time.monotonic() > began + 120:
                    raise RuntimeError(
                        f"{len(scene.webhook.told)}: {scene.controller.last_words()}"
                    )
                time.sleep(0.05)
            scene.controller.wait_until_told()
            found = list(scene.controller.faults())
    lost = [fault for fault in found if fault["kind"] == "host_lost"]
    under = sum(fault["correlated_to"] is not None for fault in found)
    told_ms = {sink: _sorted_ms([f for f in found if f not in lost], sink) for sink in SINKS}
    # A host's loss is detected when nobody has heard of it for so long.
    lost_ms = max(fault["stages_ms"][f"sink:{sink}"] for fault in lost for sink in SINKS)
    value = max(*(ms[-1] for ms in told_ms.values()), lost_ms) / 1000
    detail = (
        f"{STORM_HOSTS} of {AGENTS} hosts, {guests} instances, PostgreSQL, Mosquitto: stored after"
        f" {figures['took_s']:.1f} s, told: {_spread(told_ms)}; the {len(lost)} host_lost within"
        f" {lost_ms / 1000:.1f} s of their detection, {under} faults under them"
    )
    return Result("storm.40_hosts", value, "s", None, detail)


def _told_ms(scene: Scene, newest: int) -> dict[str, list[float]]:
    """By sink: from the detection of the `newest` faults to its yes, sorted."""
    found = [fault for fault, _ in zip(scene.controller.faults(), range(newest), strict=False)]
    return {sink: _sorted_ms(found, sink) for sink in SINKS}


def _sorted_ms(found: list[dict[str, Any]], sink: str) -> list[float]:
    stage = f"sink:{sink}"
    return sorted(fault["stages_ms"][stage] for fault in found if stage in fault["stages_ms"])


def _spread(told_ms: dict[str, list[float]]) -> str:
    """p50 and p99."""
    return ", ".join(
        f"{sink} {percentile(ms, 0.5):.0f}/{percentile(ms, 0.99):.0f} ms"
        for sink, ms in told_ms.items()
    )


def _kind(database: str | None) -> str:
    return "SQLite" if database is None else "PostgreSQL"
