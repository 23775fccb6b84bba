"""Host agents without guests' ports, in one process: real outboxes and couriers, and presence.

    python -m benchmarks.fault_agents FOLDER URL AGENTS GUESTS [USERNAME PASSWORD_FILE]

Prints `connected`, then obeys lines on stdin, and answers each with a line of JSON:

    burst               every guest of every agent fails at once
    steady RATE COUNT   COUNT faults, RATE a second, of guests that take turns
    reports RATE COUNT  COUNT reports of REFRESH_MIN guests each, RATE a second
    storm HOSTS         every guest of the first HOSTS agents fails, and those agents fall silent

`took_s`: from the first fault until controllers had acknowledged all; `cpu_us`: this process's CPU
for each.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import reachthru
from reachthru.bus import BusDoor, BusUnavailableError, agent_bus
from reachthru.host_agent.courier import Courier
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.reporter import PERIOD_S, REFRESH_MIN
from reachthru.host_agent.store import Store
from reachthru.protocol.agent_bus import (
    AgentReport,
    FaultAck,
    FaultChange,
    InstanceReport,
    ReportRequest,
)
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity

LIMIT_S = 300.0


class Agent:
    """What is left of a host agent without guests' ports."""

    def __init__(self, folder: Path, url: str, number: int, guests: int, door: BusDoor) -> None:
        self._host = f"compute-{number}"
        self.guests = [str(uuid.uuid4()) for _ in range(guests)]
        self._bus = agent_bus(url, self._host, door)
        self._connected = asyncio.Event()
        self._bus.on_connection = lambda connected: self._connected.set() if connected else None
        self._wants_full = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.outbox = Outbox(Store(folder / f"{self._host}.sqlite", loop), loop)
        self._courier = Courier(self._bus, self.outbox)
        self._presence: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        await self.outbox.open()
        await self._bus.__aenter__()
        await self._connected.wait()
        self._wants_full.set()
        self._presence = asyncio.create_task(self._report())
        self._tasks = [
            asyncio.create_task(self._courier.run()),
            asyncio.create_task(self._listen()),
        ]

    def fall_silent(self) -> None:
        """As a host does that has lost its power: no goodbye."""
        if self._presence is not None:
            self._presence.cancel()

    def fail(self, guest: str) -> None:
        change = FaultChange(
            fault_id=str(uuid.uuid4()),
            seq=0,
            status=FaultStatus.RAISED,
            kind=FaultKind.HEARTBEAT_LOST,
            severity=Severity.CRITICAL,
            instance_uuid=guest,
            instance_name="vm",
            host=self._host,
            raised_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            detail="no answer to challenge 17 within 400 ms",
            corrective_action="log",
            stages_ms={"last_good": -812.5, "deadline": -2.0, "detected": 0.0},
        )
        self.outbox.record(change, time.monotonic())

    async def report(self, *, full: bool) -> None:
        named = self.guests if full else self.guests[:REFRESH_MIN]
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        report = AgentReport(
            host=self._host,
            agent_version=reachthru.__version__,
            sent_at=now,
            lateness_ms=0.0,
            guests=len(self.guests),
            full=full,
            instances=[_seen(guest, now) for guest in named],
            waiting=self.outbox.waiting,
        )
        await self._bus.send(report)

    async def _report(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await self._wants_full.wait()
            full = self._wants_full.is_set()
            self._wants_full.clear()
            try:
                await self.report(full=full)
            except BusUnavailableError:
                self._wants_full.set()
                await asyncio.sleep(1.0)

    async def _listen(self) -> None:
        async for message in self._bus.messages():
            if isinstance(message, FaultAck):
                self._courier.acknowledge(message.seqs, message.batch_limit)
            elif isinstance(message, ReportRequest):
                self._wants_full.set()
                self._courier.rewind()


def _seen(guest: str, now: str) -> InstanceReport:
    return InstanceReport(
        uuid=guest,
        name="vm",
        state="running",
        registered=True,
        interval_ms=1000,
        last_seen_at=now,
        health="healthy",
    )


async def burst(crowd: list[Agent]) -> int:
    for agent in crowd:
        for guest in agent.guests:
            agent.fail(guest)
        await asyncio.sleep(0)
    return sum(len(agent.guests) for agent in crowd)


async def steady(crowd: list[Agent], rate: float, count: int) -> int:
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        agent = crowd[number % len(crowd)]
        agent.fail(agent.guests[number // len(crowd) % len(agent.guests)])
    return count


async def reports(crowd: list[Agent], rate: float, count: int) -> int:
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        await crowd[number % len(crowd)].report(full=False)
    return count


async def storm(crowd: list[Agent], hosts: int) -> int:
    for agent in crowd[:hosts]:
        agent.fall_silent()
    return await burst(crowd[:hosts])


async def obey(crowd: list[Agent], line: str) -> dict[str, float]:
    word, *numbers = line.split()
    began, cpu_before_s = time.monotonic(), time.process_time()
    if word == "burst":
        count = await burst(crowd)
    elif word == "steady":
        count = await steady(crowd, float(numbers[0]), int(numbers[1]))
    elif word == "reports":
        count = await reports(crowd, float(numbers[0]), int(numbers[1]))
    else:
        count = await storm(crowd, int(numbers[0]))
    async with asyncio.timeout(LIMIT_S):
        while any(agent.outbox.waiting for agent in crowd):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    cpu_us = (time.process_time() - cpu_before_s) / count * 1e6
    return {"took_s": time.monotonic() - began, "cpu_us": cpu_us}


async def main() -> None:
    folder, url, agents, guests, *secret = sys.argv[1:]
    door = BusDoor(username=secret[0], password_file=Path(secret[1])) if secret else BusDoor()
    crowd = [Agent(Path(folder), url, number, int(guests), door) for number in range(int(agents))]
    for agent in crowd:
        await agent.open()
    print("connected", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await obey(crowd, line)), flush=True)
    os._exit(0)  # nobody waits for a hundred goodbyes


asyncio.run(main())
