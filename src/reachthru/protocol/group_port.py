"""The host's side of one guest's server-group messages: what it asks, and what waits for it.

A guest's broadcast or query is checked here and handed out as an event with an id; a controller's
word on that id, or its silence, comes back. What is for the guest waits in two queues: answers to
its own messages, and deliveries from its peers. Deliveries are bounded by age and by count, so
that a guest that was away hears no stale burst. Every loss is an event.

Identity is the port's: `source_instance` and the addresses that a guest claims decide nothing.
`source_addr` only says which of the guest's own applications is to be answered.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from reachthru.protocol.agent_bus import GroupNotification
from reachthru.protocol.messages import (
    LOG_MSG_LIMIT_BYTES,
    SERVER_GROUP_ADDR,
    Broadcast,
    ServerGroupMessage,
    ServerGroupNack,
    StatusQuery,
    StatusResponseDone,
    clip_text,
)
from reachthru.protocol.rate import TokenBucket
from reachthru.protocol.server_group import fit_notification, fit_status, refuse_broadcast

NO_CONTROLLER = "controller unavailable"
# The guest is told within a second; the rest is for being late.
ANSWER_LIMIT_S = 0.8
ADDRESS_LIMIT_BYTES = 107  # of a socket's name
# A nack must not become a weapon against our own side.
RATE_NACKS_PER_S = 1.0
RATE_NACK_BURST = 5
ANSWERS_AT_ONCE = 8


class GroupPolicy(Struct, frozen=True):
    """What one guest may do, and how much may wait for it."""

    rate_per_s: float = 20.0
    burst: int = 40
    max_age_s: float = 2.0
    max_queue: int = 64


class BroadcastAsked(Struct, frozen=True):
    """To be carried to a controller, which answers for `id`."""

    id: int
    data: str


class StatusAsked(Struct, frozen=True):
    id: int


class Lost(Struct, frozen=True):
    """Messages of `sender`'s were dropped. `reason`: rate, flood, stale or overflow."""

    sender: str
    reason: str
    count: int = 1


class OutOfPlace(Struct, frozen=True):
    """The guest sent what only hosts send."""

    what: str


GroupEvent = BroadcastAsked | StatusAsked | Lost | OutOfPlace


class Outgoing(Struct, frozen=True):
    """A message for the guest, and which of its applications it is for."""

    message: ServerGroupMessage
    dest_addr: str


class _Pending(Struct, frozen=True):
    """A message that no controller has answered for. `seq` is a query's, None a broadcast's."""

    due: float
    source_addr: str
    seq: int | None


class _Queued(Struct, frozen=True):
    """`query` names the application whose status query this answers, if it does."""

    at: float
    sender: str
    dest_addr: str
    make: Callable[[int], ServerGroupMessage]  # from the guest's base version
    query: str | None = None


class GroupPort:
    """One guest. `owner` is the instance, `next_id` gives ids that are unique at this host."""

    __slots__ = (
        *("_answers", "_bucket", "_deliveries", "_events", "_nacks", "_next_id", "_pending"),
        *("_policy", "owner"),
    )

    def __init__(self, owner: str, policy: GroupPolicy, next_id: Callable[[], int]) -> None:
        self.owner = owner
        self._policy = policy
        self._next_id = next_id
        self._bucket = TokenBucket(policy.rate_per_s, policy.burst)
        self._nacks = TokenBucket(RATE_NACKS_PER_S, RATE_NACK_BURST)
        self._pending: dict[int, _Pending] = {}  # the oldest first
        self._answers: deque[_Queued] = deque()
        self._deliveries: deque[_Queued] = deque()
        self._events: list[GroupEvent] = []

    # --- the shell's verbs -------------------------------------------------------------------

    def receive(self, message: ServerGroupMessage, source_addr: str, now: float) -> None:
        """Feeds one parsed message of the guest's."""
        if len(source_addr.encode()) > ADDRESS_LIMIT_BYTES:
            source_addr = SERVER_GROUP_ADDR
        if isinstance(message, Broadcast):
            self._receive_broadcast(message, source_addr, now)
        elif isinstance(message, StatusQuery):
            self._receive_query(message, source_addr, now)
        else:
            self._events.append(OutOfPlace(f"{type(message).__name__} from a guest"))

    def flooded(self, lines: int, now: float) -> None:
        """The guest wrote so much that these lines were dropped unread."""
        self._events.append(Lost(self.owner, "flood", lines))
        self._nack_rate("unknown", SERVER_GROUP_ADDR, now)

    def deadline(self) -> float | None:
        """The earliest moment that `wake` has something to do."""
        moments = [queue[0].at + self._policy.max_age_s for queue in self._queues() if queue]
        if self._pending:
            moments.append(next(iter(self._pending.values())).due)
        return min(moments, default=None)

    def wake(self, now: float) -> None:
        """Nacks what no controller answered in time, and drops what is too old."""
        for number, pending in list(self._pending.items()):
            if now < pending.due:
                break
            self._fail(number, NO_CONTROLLER, now)
        for queue in self._queues():
            while queue and now >= queue[0].at + self._policy.max_age_s:
                self._lose(queue.popleft(), "stale")

    @property
    def has_output(self) -> bool:
        return bool(self._answers or self._deliveries)

    def take_output(self, base_version: int) -> list[Outgoing]:
        """What to write next, once the guest has read what was written before.

        Several answers, since a guest that asks reads; else one delivery, since what was
        written can't be taken back and would be stale should the guest read it late.
        """
        queue, limit = (self._answers, ANSWERS_AT_ONCE) if self._answers else (self._deliveries, 1)
        taken = [queue.popleft() for _ in range(min(limit, len(queue)))]
        return [Outgoing(item.make(base_version), item.dest_addr) for item in taken]

    def take_events(self) -> list[GroupEvent]:
        events, self._events = self._events, []
        return events

    # --- what controllers say ----------------------------------------------------------------

    def taken(self, number: int) -> None:
        """A controller has the broadcast `number`."""
        self._pending.pop(number, None)

    def refused(self, number: int, log_msg: str, now: float) -> None:
        """A controller refused the broadcast or query `number`."""
        self._fail(number, log_msg, now)

    def unreachable(self, number: int, now: float) -> None:
        """There is nobody to carry `number` to."""
        self._fail(number, NO_CONTROLLER, now)

    def answered(self, number: int, members: Sequence[dict[str, Any]], now: float) -> None:
        """A controller's answer to the query `number`; nobody waits for it if it comes late."""
        query = self._pending.pop(number, None)
        if query is None or query.seq is None:
            return
        for status in members:
            self._answer(query, partial(_status, query.seq, status), now)
        done = StatusResponseDone(seq=query.seq)
        self._answer(query, lambda _version: done, now)

    def deliver(self, source_instance: str, data: str, now: float) -> None:
        """A peer's broadcast."""
        broadcast = Broadcast(source_instance=source_instance, data=data)
        self._enqueue(source_instance, lambda _version: broadcast, now)

    def notify(self, news: GroupNotification, now: float) -> None:
        """A peer's new state."""
        sender = str(news.payload.get("instance_id", ""))
        self._enqueue(sender, partial(_notification, news), now)

    def reset(self) -> None:
        """The guest's end was closed: who asked is gone. Deliveries wait as long as they may."""
        self._pending.clear()
        self._answers.clear()

    # --- what the guest asks -----------------------------------------------------------------

    def _receive_broadcast(self, message: Broadcast, source_addr: str, now: float) -> None:
        if not self._admit("broadcast", source_addr, now):
            return
        refusal = refuse_broadcast(message.data)
        if refusal is not None:
            self._nack("broadcast", refusal, source_addr, now)
            return
        number = self._next_id()
        self._pending[number] = _Pending(now + ANSWER_LIMIT_S, source_addr, None)
        self._events.append(BroadcastAsked(number, message.data))

    def _receive_query(self, message: StatusQuery, source_addr: str, now: float) -> None:
        if not self._admit("status_query", source_addr, now):
            return
        self._cancel_queries(source_addr)
        number = self._next_id()
        self._pending[number] = _Pending(now + ANSWER_LIMIT_S, source_addr, message.seq)
        self._events.append(StatusAsked(number))

    def _admit(self, msg_type: str, source_addr: str, now: float) -> bool:
        if self._bucket.take(now):
            return True
        self._events.append(Lost(self.owner, "rate"))
        self._nack_rate(msg_type, source_addr, now)
        return False

    def _nack_rate(self, msg_type: str, source_addr: str, now: float) -> None:
        if self._nacks.take(now):
            text = f"refused: more than {self._policy.rate_per_s:g} messages a second"
            self._nack(msg_type, text, source_addr, now)

    def _cancel_queries(self, source_addr: str) -> None:
        """A newer query cancels an older one, asked or half answered, of the same application."""
        for number, pending in list(self._pending.items()):
            if pending.seq is not None and pending.source_addr == source_addr:
                del self._pending[number]
        kept = [answer for answer in self._answers if answer.query != source_addr]
        self._answers = deque(kept)

    # --- what waits for the guest ------------------------------------------------------------

    def _fail(self, number: int, log_msg: str, now: float) -> None:
        pending = self._pending.pop(number, None)
        if pending is not None:
            msg_type = "broadcast" if pending.seq is None else "status_query"
            self._nack(msg_type, log_msg, pending.source_addr, now)

    def _nack(self, msg_type: str, log_msg: str, source_addr: str, now: float) -> None:
        nack = ServerGroupNack(
            orig_msg_type=msg_type, log_msg=clip_text(log_msg, LOG_MSG_LIMIT_BYTES)
        )
        self._answers.append(_Queued(now, self.owner, source_addr, lambda _version: nack))

    def _answer(
        self, query: _Pending, make: Callable[[int], ServerGroupMessage], now: float
    ) -> None:
        address = query.source_addr
        self._answers.append(_Queued(now, self.owner, address, make, query=address))

    def _enqueue(self, sender: str, make: Callable[[int], ServerGroupMessage], now: float) -> None:
        if len(self._deliveries) >= self._policy.max_queue:
            self._lose(self._deliveries.popleft(), "overflow")
        self._deliveries.append(_Queued(now, sender, SERVER_GROUP_ADDR, make))

    def _lose(self, item: _Queued, reason: str) -> None:
        self._events.append(Lost(item.sender, reason))

    def _queues(self) -> tuple[deque[_Queued], deque[_Queued]]:
        return self._answers, self._deliveries


def _status(seq: int, status: dict[str, Any], _base_version: int) -> ServerGroupMessage:
    return fit_status(seq, status)


def _notification(news: GroupNotification, base_version: int) -> ServerGroupMessage:
    return fit_notification(
        news.event_type, news.priority, news.timestamp, news.payload, base_version
    )
