"""A compute node whose guests fall ill and recover at random; its host agent is killed at will.

What carries its faults is the host agent's own: outbox, courier, bus. What may be sent is noted in
a journal before it is, so that a test knows what has to arrive. Nobody falls ill once there is a
file `calm`; the file `<host>.waiting` says how many changes nobody has acknowledged.
"""

import argparse
import asyncio
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from reachthru.bus import AgentBus, BusUnavailableError, agent_bus
from reachthru.host_agent.courier import Courier
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.store import Store
from reachthru.protocol.agent_bus import (
    AgentReport,
    FaultAck,
    FaultChange,
    InstanceReport,
    ReportRequest,
)
from reachthru.protocol.faults import CATALOGUE, FaultKind, FaultStatus

REPORT_S = 1.0


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Agent:
    def __init__(self, arguments: argparse.Namespace) -> None:
        loop = asyncio.get_running_loop()
        self.host: str = arguments.host
        self.folder: Path = arguments.folder
        self.changes_per_s: float = arguments.changes_per_s
        self.instances = [
            str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.host}.{number}"))
            for number in range(arguments.instances)
        ]
        self.chance = random.Random()
        self.bus: AgentBus = agent_bus(arguments.url, self.host)
        self.outbox = Outbox(Store(self.folder / f"{self.host}.sqlite", loop), loop)
        self.courier = Courier(self.bus, self.outbox)
        self.outbox.on_ready = self._journaled(self.outbox.on_ready)
        self.bus.on_connection = lambda connected: self.courier.rewind() if connected else None
        self.epoch, self.reports = secrets.token_hex(8), 0

    async def run(self) -> None:
        await self.outbox.open()
        async with self.bus, asyncio.TaskGroup() as tasks:
            for work in (self.courier.run, self._listen, self._fall_ill, self._report, self._say):
                tasks.create_task(work())

    def _journaled(self, on_ready: Callable[[FaultChange], None]) -> Callable[[FaultChange], None]:
        path = self.folder / f"{self.host}.journal"
        journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

        def note(change: FaultChange) -> None:
            line = f"{change.instance_uuid} {change.fault_id} {change.status}\n"
            os.write(journal, line.encode())
            on_ready(change)

        return note

    async def _fall_ill(self) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(self.changes_per_s))
            if not (self.folder / "calm").exists():
                self._change(self.chance.choice(self.instances))

    def _change(self, instance: str) -> None:
        """Its fault is over, or it has a new one."""
        raised = next(
            (one for one in self.outbox.active.values() if one.instance_uuid == instance), None
        )
        kind = raised.kind if raised else FaultKind.HEARTBEAT_LOST
        change = FaultChange(
            fault_id=raised.fault_id if raised else str(uuid.uuid4()),
            seq=0,
            status=FaultStatus.CLEARED if raised else FaultStatus.RAISED,
            kind=kind,
            severity=CATALOGUE[kind].severity,
            instance_uuid=instance,
            instance_name=f"vm-{instance[:8]}",
            host=self.host,
            raised_at=raised.raised_at if raised else now(),
            cleared_at=now() if raised else None,
        )
        self.outbox.record(change, time.monotonic())

    async def _listen(self) -> None:
        async for message in self.bus.messages():
            if isinstance(message, FaultAck):
                self.courier.acknowledge(message.seqs, message.batch_limit)
            elif isinstance(message, ReportRequest):
                self.courier.rewind()

    async def _report(self) -> None:
        while True:
            self.reports += 1
            report = AgentReport(
                host=self.host,
                agent_version="chaos",
                sent_at=now(),
                lateness_ms=0.0,
                guests=len(self.instances),
                full=True,
                instances=[
                    InstanceReport(uuid=one, name=f"vm-{one[:8]}", state="running", registered=True)
                    for one in self.instances
                ],
                epoch=self.epoch,
                seq=self.reports,
                waiting=self.outbox.waiting,
                outbox_durable=self.outbox.durable,
            )
            if self.bus.connected:
                try:
                    await self.bus.send(report)
                except BusUnavailableError:
                    continue
            await asyncio.sleep(REPORT_S)

    async def _say(self) -> None:
        said = self.folder / f"{self.host}.waiting"
        while True:
            new = said.with_suffix(".new")
            new.write_text(str(self.outbox.waiting))
            new.rename(said)
            await asyncio.sleep(0.1)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--instances", type=int, default=30)
    parser.add_argument("--changes-per-s", type=float, default=10.0)
    await Agent(parser.parse_args()).run()


if __name__ == "__main__":
    asyncio.run(main())
