"""Fault changes as they are committed, by whichever controller: each once, on every controller."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct

from reachthru.bus import ControllerBus
from reachthru.controller_server.cluster.heard import TAIL_PERIOD_S, HeardChanges, Key
from reachthru.controller_server.store import tail
from reachthru.controller_server.store.changes import Stored
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.controller_bus import ControllerNews

NEWS_LIMIT = 200  # changes in one message
PAGE = 2_000  # rows in one query
# Changes that were being committed when this controller started may have lower ids than it saw.
START_OVERLAP = 1_000

_log = logging.getLogger(__name__)


class Heard(Struct, frozen=True):
    """`ours`: this controller has stored them. `released`: faults, by id, that are no news, and of
    which sinks are told only now.
    """

    changes: Sequence[FaultChange]
    ours: bool
    released: Sequence[str] = ()


class FaultFeed:
    """`listeners` are called with changes that are committed and new, in order an instance; and
    with faults that are let go.
    """

    def __init__(self, database: Database, bus: ControllerBus) -> None:
        self.listeners: list[Callable[[Heard], None]] = []
        self._database = database
        self._bus = bus
        self._heard = HeardChanges(0)

    async def open(self) -> None:
        """To be called before active faults are loaded. Raises `DatabaseError`."""
        last_id = await self._database.read(tail.last_change_id)
        self._heard = HeardChanges(max(0, last_id - START_OVERLAP))
        rows, last_id = await self._read_tail()
        for _id, key in rows:
            self._heard.is_new(key)
        self._heard.tail_read(last_id, time.monotonic())

    def take_stored(self, stored: Sequence[Stored]) -> None:
        """What this controller has just committed; the others hear of it."""
        changes = [item.change for item in stored]
        for start in range(0, len(changes), NEWS_LIMIT):
            self._bus.tell_controllers(
                ControllerNews(
                    controller=self._bus.name, changes=changes[start : start + NEWS_LIMIT]
                )
            )
        self._tell(Heard(self._heard.new(changes), ours=True))

    def take_released(self, fault_ids: Sequence[str]) -> None:
        """What this controller has just let go. Who misses it sees it when it looks next."""
        self._bus.tell_controllers(
            ControllerNews(controller=self._bus.name, changes=[], released=list(fault_ids))
        )
        self._tell(Heard([], ours=True, released=fault_ids))

    def take_news(self, news: ControllerNews) -> None:
        """What another one has committed."""
        self._tell(Heard(self._heard.new(news.changes), ours=False, released=news.released))

    async def run(self) -> None:
        """Finds in the database what was missed, until cancelled."""
        while True:
            await asyncio.sleep(TAIL_PERIOD_S)
            try:
                await self._repair()
            except DatabaseError as error:
                _log.error("what other controllers stored is not read: %s", error)

    async def _repair(self) -> None:
        rows, last_id = await self._read_tail()
        missed = [id for id, key in rows if not self._heard.knows(key)]
        changes = await self._database.read(lambda c: tail.load_changes(c, missed))
        new = self._heard.new(changes)
        self._heard.tail_read(last_id, time.monotonic())
        self._tell(Heard(new, ours=False))

    async def _read_tail(self) -> tuple[list[tuple[int, Key]], int]:
        """(id, key) of every row above the floor, and the last id."""
        rows: list[tuple[int, Key]] = []
        last_id = self._heard.floor
        while True:
            page = await self._database.read(partial(tail.list_keys, after_id=last_id, limit=PAGE))
            rows += page
            if page:
                last_id = page[-1][0]
            if len(page) < PAGE:
                return rows, last_id

    def _tell(self, heard: Heard) -> None:
        if heard.changes or heard.released:
            for listener in self.listeners:
                listener(heard)
