"""Fault changes into the database: a batch at a time, acknowledged once it is committed.

A change of an instance that another host carries waits a moment, since that host's report may be
on its way; then it is refused.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from reachthru.bus import BusUnavailableError, ControllerBus
from reachthru.controller_server.cluster.identity import Standing
from reachthru.controller_server.store.changes import Arrived, Stored
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.trail import UNTRACED, Trail
from reachthru.protocol.agent_bus import BATCH_LIMIT, FaultAck, FaultChange
from reachthru.protocol.faults import FaultKind

STORED_AT_ONCE = 500  # fault changes in one transaction
DATABASE_RETRY_S = 1.0
DOUBT_S = 2.0  # an agent reports within 0.1 s of a connection, or of a new instance
DOUBTS_LIMIT = 1_000
COMPLAINTS_LIMIT = 1_000  # hosts; more are counted in silence

_log = logging.getLogger(__name__)


class FaultIntake:
    """`on_stored` is called with each batch of new changes, once it is committed."""

    def __init__(
        self,
        bus: ControllerBus,
        ledger: Ledger,
        standing: Standing,
        on_stored: Callable[[Sequence[Stored]], None],
        trail: Trail = UNTRACED,
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._standing = standing
        self._on_stored = on_stored
        self._trail = trail
        self._changes: asyncio.Queue[Arrived] = asyncio.Queue(STORED_AT_ONCE * 4)
        self._doubts: asyncio.Queue[tuple[float, Arrived]] = asyncio.Queue(DOUBTS_LIMIT)
        self._complaints: set[str] = set()
        self._acks: dict[str, list[int]] = defaultdict(list)  # seqs by host
        self._acks_due = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._store_changes(), name="fault changes")
            tasks.create_task(self._settle_doubts(), name="doubtful fault changes")
            tasks.create_task(self._send_acks(), name="fault acks")

    async def take(self, change: FaultChange) -> None:
        """Waits while the database is behind."""
        arrived = Arrived(change, datetime.now(UTC))
        self._trail.received(change)
        if self._may_be_stored(change):
            await self._changes.put(arrived)
        elif self._doubts.full():
            self._refuse(change)
        else:
            self._doubts.put_nowait((asyncio.get_running_loop().time() + DOUBT_S, arrived))

    def _may_be_stored(self, change: FaultChange) -> bool:
        if change.kind is FaultKind.HOST_LOST:  # no agent is there to say so
            return False
        now = asyncio.get_running_loop().time()
        return self._standing.may_report(change.host, change.instance_uuid, now)

    async def _settle_doubts(self) -> None:
        while True:
            due, arrived = await self._doubts.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            if self._may_be_stored(arrived.change):
                await self._changes.put(arrived)
            else:
                self._refuse(arrived.change)

    def _refuse(self, change: FaultChange) -> None:
        """For good: it is acknowledged, or the agent would repeat it forever."""
        self._bus.refused["foreign_instance"] += 1
        if change.host not in self._complaints and len(self._complaints) < COMPLAINTS_LIMIT:
            self._complaints.add(change.host)
            _log.warning(
                "host %s: its fault %s (%s) of instance %s is refused: that is not an instance of"
                " this host; the next ones like it are only counted",
                change.host,
                change.fault_id,
                change.kind,
                change.instance_uuid,
            )
        self._acknowledge([change])

    async def _store_changes(self) -> None:
        while True:
            batch = [await self._changes.get()]
            while not self._changes.empty() and len(batch) < STORED_AT_ONCE:
                batch.append(self._changes.get_nowait())
            # An agent that repeats what was not acknowledged may do so out of order.
            batch.sort(key=lambda item: (item.change.host, item.change.seq))
            stored = await self._store(batch)
            self._trail.stored(batch, stored)
            if stored:
                self._on_stored(stored)
            self._acknowledge([item.change for item in batch])

    async def _store(self, batch: Sequence[Arrived]) -> list[Stored]:
        """Until the database has it: without an ack the agents keep it, and so do we.

        A change that no database would take is given up, or it would hold up all others.
        """
        while True:
            try:
                return await self._ledger.add(batch)
            except DatabaseError as error:
                if not error.of_data:
                    _log.debug("%d fault changes wait for the database: %s", len(batch), error)
                    await asyncio.sleep(DATABASE_RETRY_S)
                elif len(batch) == 1:
                    change = batch[0].change
                    _log.error("host %s: fault %s is lost: %s", change.host, change.fault_id, error)
                    self._bus.refused["unstorable"] += 1
                    return []
                else:
                    return [stored for item in batch for stored in await self._store([item])]

    def _acknowledge(self, changes: Sequence[FaultChange]) -> None:
        for change in changes:
            self._acks[change.host].append(change.seq)
        self._acks_due.set()

    async def _send_acks(self) -> None:
        """Beside the storing: a broker that is slow to confirm holds up nothing else."""
        while True:
            await self._acks_due.wait()
            self._acks_due.clear()
            due, self._acks = self._acks, defaultdict(list)
            for host, seqs in due.items():
                try:
                    await self._bus.send(host, FaultAck(seqs=seqs, batch_limit=BATCH_LIMIT))
                except BusUnavailableError as error:
                    # The agent repeats what was not acknowledged, and is acknowledged then.
                    _log.info("host %s: %d acks are not sent: %s", host, len(seqs), error)
