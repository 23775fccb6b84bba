"""From the bus into the database: everything that agents send.

Fault changes that wait are stored as one batch. Their agents hear of it when it is committed,
and the sinks do too.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from reachthru.bus import BusUnavailableError, ControllerBus
from reachthru.controller_server.groups.service import GroupService
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.store.changes import Arrived, Stored
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.protocol.agent_bus import (
    AgentMessage,
    AgentOffline,
    AgentReport,
    FaultAck,
    FaultChange,
    GroupBroadcast,
    GroupQuery,
)
from reachthru.protocol.controller_bus import ControllerNews

BATCH_LIMIT = 500  # fault changes in one transaction
DATABASE_RETRY_S = 1.0

_log = logging.getLogger(__name__)


class Intake:
    """`on_stored` is called with each batch of new changes, once it is committed."""

    def __init__(
        self,
        bus: ControllerBus,
        ledger: Ledger,
        inventory: Inventory,
        groups: GroupService,
        on_stored: Callable[[Sequence[Stored]], None],
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._inventory = inventory
        self._groups = groups
        self._on_stored = on_stored
        self._changes: asyncio.Queue[Arrived] = asyncio.Queue(BATCH_LIMIT * 4)
        self._words: asyncio.Queue[AgentReport | AgentOffline] = asyncio.Queue(BATCH_LIMIT)
        self._acks: dict[str, list[int]] = defaultdict(list)  # seqs by host
        self._acks_due = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled, or until the bus ends."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(self._store_changes(), name="fault changes"),
                tasks.create_task(self._take_words(), name="reports"),
                tasks.create_task(self._send_acks(), name="fault acks"),
            ]
            async for host, message in self._bus.messages():
                if not isinstance(message, ControllerNews):
                    await self._sort(host, message)
            for helper in helpers:
                helper.cancel()

    async def _sort(self, host: str, message: AgentMessage) -> None:
        if isinstance(message, FaultChange):
            await self._changes.put(Arrived(message, datetime.now(UTC)))
        elif isinstance(message, GroupBroadcast | GroupQuery):
            self._groups.take_message(host, message)
        else:
            if isinstance(message, AgentReport):
                self._groups.take_report(message)
            else:
                self._groups.take_offline(message)
            await self._words.put(message)

    async def _store_changes(self) -> None:
        while True:
            batch = [await self._changes.get()]
            while not self._changes.empty() and len(batch) < BATCH_LIMIT:
                batch.append(self._changes.get_nowait())
            # An agent that repeats what was not acknowledged may do so out of order.
            batch.sort(key=lambda item: (item.change.host, item.change.seq))
            stored = await self._store(batch)
            if stored:
                self._groups.take_faults(item.change for item in stored)
                self._on_stored(stored)
            for item in batch:
                self._acks[item.change.host].append(item.change.seq)
            self._acks_due.set()

    async def _store(self, batch: Sequence[Arrived]) -> list[Stored]:
        """Until the database has it: without an ack the agents keep it, and so do we.

        A change that no database would take is given up, or it would hold up all others.
        """
        while True:
            try:
                return await self._ledger.add(batch)
            except DatabaseError as error:
                if not error.of_data:
                    _log.error("%d fault changes wait for the database: %s", len(batch), error)
                    await asyncio.sleep(DATABASE_RETRY_S)
                elif len(batch) == 1:
                    change = batch[0].change
                    _log.error("host %s: fault %s is lost: %s", change.host, change.fault_id, error)
                    self._bus.refused["unstorable"] += 1
                    return []
                else:
                    return [stored for item in batch for stored in await self._store([item])]

    async def _take_words(self) -> None:
        while True:
            word = await self._words.get()
            try:
                if isinstance(word, AgentReport):
                    await self._inventory.take_report(word)
                else:
                    await self._inventory.take_offline(word)
            except DatabaseError as error:
                _log.error("host %s: its report is not stored: %s", word.host, error)

    async def _send_acks(self) -> None:
        """Beside the storing: a broker that is slow to confirm holds up nothing else."""
        while True:
            await self._acks_due.wait()
            self._acks_due.clear()
            due, self._acks = self._acks, defaultdict(list)
            for host, seqs in due.items():
                try:
                    await self._bus.send(host, FaultAck(seqs=seqs))
                except BusUnavailableError as error:
                    # The agent repeats what was not acknowledged, and is acknowledged then.
                    _log.info("host %s: %d acks are not sent: %s", host, len(seqs), error)
