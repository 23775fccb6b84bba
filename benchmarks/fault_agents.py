"""The agents of a burst, in one process: real outboxes and couriers, with no guests.

    python -m benchmarks.fault_agents FOLDER URL AGENTS FAULTS_EACH [USERNAME PASSWORD_FILE]

Prints `connected`, waits for a line on stdin, raises every fault at once, and prints as JSON how
many seconds passed until controllers had acknowledged all of them.
"""

import asyncio
import json
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from reachthru.bus import BusDoor, agent_bus
from reachthru.host_agent.courier import Courier
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.store import Store
from reachthru.protocol.agent_bus import FaultAck, FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity

LIMIT_S = 300.0


class Agent:
    """What is left of a host agent without guests."""

    def __init__(self, folder: Path, url: str, number: int, door: BusDoor) -> None:
        self._host = f"compute-{number}"
        self.bus = agent_bus(url, self._host, door)
        self._connected = asyncio.Event()
        self.bus.on_connection = lambda connected: self._connected.set() if connected else None
        loop = asyncio.get_running_loop()
        self.outbox = Outbox(Store(folder / f"{self._host}.sqlite", loop), loop)
        self._courier = Courier(self.bus, self.outbox)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        await self.outbox.open()
        await self.bus.__aenter__()
        self._tasks = [
            asyncio.create_task(self._courier.run()),
            asyncio.create_task(self._listen()),
        ]
        await self._connected.wait()

    def raise_faults(self, count: int) -> None:
        for _ in range(count):
            change = FaultChange(
                fault_id=str(uuid.uuid4()),
                seq=0,
                status=FaultStatus.RAISED,
                kind=FaultKind.HEARTBEAT_LOST,
                severity=Severity.CRITICAL,
                instance_uuid=str(uuid.uuid4()),
                instance_name="vm",
                host=self._host,
                raised_at=datetime.now(UTC).isoformat(timespec="microseconds"),
                detail="no answer to challenge 17 within 400 ms",
                corrective_action="log",
                stages_ms={"last_good": -812.5, "deadline": -2.0, "detected": 0.0},
            )
            self.outbox.record(change, time.monotonic())

    async def _listen(self) -> None:
        async for message in self.bus.messages():
            if isinstance(message, FaultAck):
                self._courier.acknowledge(message.seqs)


async def main() -> None:
    folder, url, agents, each, *secret = sys.argv[1:]
    door = BusDoor(username=secret[0], password_file=Path(secret[1])) if secret else BusDoor()
    crowd = [Agent(Path(folder), url, number, door) for number in range(int(agents))]
    for agent in crowd:
        await agent.open()
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = time.monotonic()
    for agent in crowd:
        agent.raise_faults(int(each))
        await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT_S):
        while any(agent.outbox.waiting for agent in crowd):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    print(json.dumps({"took_s": time.monotonic() - began}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)


asyncio.run(main())
