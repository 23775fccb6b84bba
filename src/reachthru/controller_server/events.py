"""What happens, for whoever follows it: /v1/events."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import msgspec
from msgspec import Struct

from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.protocol.agent_bus import FaultChange

FOLLOWERS_LIMIT = 100
QUEUE_LIMIT = 1_000
# Tells a client's proxy, and us, that the connection is alive.
KEEPALIVE_S = 15.0
BATCHES_LIMIT = 100

_log = logging.getLogger(__name__)


class Event(Struct, frozen=True):
    """`kind`: fault, instance or host; `data`: the same object as REST gives, as JSON."""

    kind: str
    data: str


class TooManyFollowersError(Exception):
    """More clients follow than are allowed; `str(error)` says how many are."""

    def __init__(self) -> None:
        super().__init__(f"{FOLLOWERS_LIMIT} clients follow the events already; try again later")


class Follower:
    """One client's events. A client that does not keep up is let go: it must read anew."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE_LIMIT)
        self.ended = False

    def offer(self, event: Event) -> None:
        if self.ended:
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """What is waiting is forgotten, so that the end is seen at once."""
        self.ended = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def events(self) -> AsyncIterator[Event | None]:
        """None where nothing happened for `KEEPALIVE_S`."""
        while True:
            try:
                event = await asyncio.wait_for(self._queue.get(), KEEPALIVE_S)
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            yield event


class EventHub:
    """From whoever knows to whoever follows."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()
        self._encode = msgspec.json.Encoder().encode

    @property
    def followed(self) -> bool:
        return bool(self._followers)

    def publish(self, kind: str, data: Struct) -> None:
        if not self._followers:
            return
        event = Event(kind, self._encode(data).decode())
        for follower in list(self._followers):
            follower.offer(event)
            if follower.ended:
                self._followers.discard(follower)

    def follow(self) -> Follower:
        """Raises `TooManyFollowersError`."""
        if len(self._followers) >= FOLLOWERS_LIMIT:
            raise TooManyFollowersError
        follower = Follower()
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def close(self) -> None:
        """Ends every stream, so that the server can stop."""
        for follower in self._followers:
            follower.end()
        self._followers.clear()


class FaultEvents:
    """Publishes fault changes as REST shows them; reads them only if somebody follows."""

    def __init__(self, hub: EventHub, ledger: Ledger) -> None:
        self._hub = hub
        self._ledger = ledger
        self._batches: asyncio.Queue[Sequence[FaultChange]] = asyncio.Queue(BATCHES_LIMIT)

    def announce(self, changes: Sequence[FaultChange]) -> None:
        """They are in the database."""
        if not self._hub.followed:
            return
        try:
            self._batches.put_nowait(changes)
        except asyncio.QueueFull:
            self._hub.close()  # whoever follows has missed something, and must read anew

    async def run(self) -> None:
        while True:
            changes = await self._batches.get()
            keys = [(change.fault_id, change.status) for change in changes]
            try:
                for fault in await self._ledger.as_of(keys):
                    self._hub.publish("fault", fault)
            except DatabaseError as error:
                _log.error("events: %s", error)
                self._hub.close()
