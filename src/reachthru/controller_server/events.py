"""What happens, for whoever follows it: /v1/events."""

import asyncio
import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from msgspec import Struct

from reachthru.controller_server.cluster.heard import Key
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultStatus

FOLLOWERS_LIMIT = 100
QUEUE_LIMIT = 1_000
# Tells a client's proxy, and us, that the connection is alive.
KEEPALIVE_S = 15.0
BATCHES_LIMIT = 100
# Who was away for less than this, and has missed no more, is told what it has missed.
KEPT_EVENTS = 500
KEPT_S = 60.0
RESYNC = "resync"

_log = logging.getLogger(__name__)


class Event(Struct, frozen=True):
    """`kind`: fault, instance or host; `data`: the same object as REST gives, as JSON.

    `kind` resync: something was missed, read anew. `id` names the event, and this hub's life.
    """

    kind: str
    data: str
    id: str


class TooManyFollowersError(Exception):
    """More clients follow than are allowed; `str(error)` says how many are."""

    def __init__(self) -> None:
        super().__init__(f"{FOLLOWERS_LIMIT} clients follow the events already; try again later")


class Follower:
    """One client's events. A client that does not keep up is let go: it must read anew."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE_LIMIT)
        self.ended = False

    @property
    def waiting(self) -> bool:
        return not self._queue.empty()

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
    """From whoever knows to whoever follows, or did a moment ago and may be back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._followers: set[Follower] = set()
        self._encode = msgspec.json.Encoder().encode
        self._life = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self.last_id = f"{self._life}.0"
        self._kept: deque[Event] = deque()
        self._kept_from = self.last_id  # what followed this one is kept
        self._followed_until = float("-inf")

    @property
    def followed(self) -> bool:
        return bool(self._followers) or self._clock() < self._followed_until

    def publish(self, kind: str, data: Struct) -> None:
        if not self.followed:
            self._forget()
            return
        self.last_id = f"{self._life}.{next(self._numbers)}"
        event = Event(kind, self._encode(data).decode(), self.last_id)
        self._kept.append(event)
        if len(self._kept) > KEPT_EVENTS:
            self._kept_from = self._kept.popleft().id
        for follower in list(self._followers):
            follower.offer(event)
            if follower.ended:
                self._followers.discard(follower)

    def follow(self, last_id: str | None = None) -> Follower:
        """`last_id`: of the last event that it has; what came after it is told first.

        Raises `TooManyFollowersError`.
        """
        if len(self._followers) >= FOLLOWERS_LIMIT:
            raise TooManyFollowersError
        follower = Follower()
        for event in self._missed_since(last_id) if last_id else ():
            follower.offer(event)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        self._followers.discard(follower)
        self._followed_until = self._clock() + KEPT_S

    def close(self) -> None:
        """Ends every stream, so that the server can stop, or so that all read anew."""
        for follower in self._followers:
            follower.end()
        self._followers.clear()
        self._followed_until = float("-inf")
        self._forget()

    def _missed_since(self, last_id: str) -> list[Event]:
        if not self.followed:  # whatever happened since was not kept
            self._forget()
        if last_id == self._kept_from:
            return list(self._kept)
        for index, event in enumerate(self._kept):
            if event.id == last_id:
                return list(self._kept)[index + 1 :]
        return [Event(RESYNC, "{}", self.last_id)]

    def _forget(self) -> None:
        """From here on nothing is kept: no id of before is where anybody can go on."""
        self._kept.clear()
        self.last_id = self._kept_from = f"{self._life}.{next(self._numbers)}"


class FaultEvents:
    """Publishes fault changes as REST shows them; reads them only if somebody follows.

    One that a maintenance window held back is published again when it is let go.
    """

    def __init__(self, hub: EventHub, ledger: Ledger) -> None:
        self._hub = hub
        self._ledger = ledger
        self._batches: asyncio.Queue[Sequence[Key]] = asyncio.Queue(BATCHES_LIMIT)

    def announce(self, changes: Sequence[FaultChange], released: Sequence[str] = ()) -> None:
        """They are in the database. `released`: faults, by id."""
        if not self._hub.followed:
            return
        keys = [(change.fault_id, change.status) for change in changes]
        keys += [(fault_id, FaultStatus.RAISED) for fault_id in released]
        try:
            self._batches.put_nowait(keys)
        except asyncio.QueueFull:
            self._hub.close()  # whoever follows has missed something, and must read anew

    async def run(self) -> None:
        while True:
            keys = await self._batches.get()
            try:
                for fault in await self._ledger.as_of(keys):
                    self._hub.publish("fault", fault)
            except DatabaseError as error:
                _log.error("events: %s", error)
                self._hub.close()
