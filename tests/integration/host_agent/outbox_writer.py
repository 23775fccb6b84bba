"""Records changes as fast as it can, and says on standard output which ones may be sent."""

import asyncio
import os
import sys
import time
from pathlib import Path

from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.store import Store
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity


async def main(path: Path, acknowledge: bool) -> None:
    loop = asyncio.get_running_loop()
    outbox = Outbox(Store(path, loop), loop)
    ready: list[int] = []

    def say(change: FaultChange) -> None:
        ready.append(change.seq)
        os.write(1, b"%d\n" % change.seq)

    outbox.on_ready = say
    await outbox.open()
    number = 0
    while True:
        number += 1
        status = FaultStatus.RAISED if number % 3 else FaultStatus.CLEARED
        change = FaultChange(
            fault_id=f"{os.getpid()}-{number - (number % 3 == 0)}",
            seq=0,
            status=status,
            kind=FaultKind.UNHEALTHY,
            severity=Severity.MAJOR,
            instance_uuid=f"u{number % 7}",
            instance_name="n",
            host="compute-0",
            raised_at="2026-01-01T00:00:00.000000+00:00",
        )
        outbox.record(change, time.monotonic())
        if acknowledge and len(ready) > 50:
            taken, ready[:] = ready[:20], ready[20:]
            os.write(1, b"".join(b"-%d\n" % seq for seq in taken))
            outbox.acknowledge(taken)
        await asyncio.sleep(0 if number % 5 else 0.001)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "acknowledge"))
