"""Between the VM's applications and the host: who has sent what, and whom an answer is for.

The wire says neither that a broadcast was taken nor which one was refused. So a refusal is given
to the sender of the oldest broadcast that may still be refused. Time is an argument.
"""

from collections import deque
from typing import Protocol

from msgspec import Struct

from reachthru.guest_daemon.applications import RefusedError
from reachthru.guest_daemon.group.queries import Asker, Queries
from reachthru.guest_daemon.loop import earliest
from reachthru.protocol.codec import Received
from reachthru.protocol.messages import (
    LOG_MSG_LIMIT_BYTES,
    SERVER_GROUP_ADDR,
    Broadcast,
    Notification,
    ServerGroupMessage,
    ServerGroupNack,
    StatusQuery,
    StatusResponse,
    StatusResponseDone,
    clip_text,
)
from reachthru.protocol.server_group import refuse_broadcast

WAITING_LIMIT = 64  # broadcasts, for a host that does not read
STALE_S = 2.0  # older than this a broadcast that still waits is dropped
REFUSAL_LIMIT_S = 2.0  # a refusal that comes later is no broadcast's
UNANSWERED_LIMIT = 1024
WORD_LIMIT_BYTES = 64


class Sender(Protocol):
    """An application that broadcasts; `address` is the `source_addr` of its messages."""

    address: str

    def tell_refused(self, broadcast_id: int, log_msg: str) -> None:
        """Its broadcast did not get through."""


class Hearer(Protocol):
    """A door with applications behind it that want to hear what the group says."""

    def hear(self, message: ServerGroupMessage, dest_addr: str) -> None:
        """A broadcast, a notification, or a refusal that is no known message's."""

    def has_audience(self) -> bool:
        """Whether an application listens at the moment."""


class _Sent(Struct):
    id: int
    sender: Sender
    message: Broadcast
    at: float  # when it was accepted; from its way out on, when that was


class Relay:
    """One port's server-group application."""

    def __init__(self, first_seq: int) -> None:
        self.hearers: list[Hearer] = []
        self.counts: dict[str, int] = {}
        self._present = False
        self._ids = 0
        self._waiting: deque[_Sent] = deque()
        self._unanswered: deque[_Sent] = deque(maxlen=UNANSWERED_LIMIT)
        self._queries = Queries(first_seq)

    # --- what applications do ----------------------------------------------------------------

    def broadcast(self, sender: Sender, text: str, now: float) -> int:
        """Gives the broadcast's id, by which `tell_refused` names it. Raises `RefusedError`."""
        refusal = refuse_broadcast(text)
        if refusal is not None:
            raise RefusedError(refusal)
        self._check_host()
        if len(self._waiting) >= WAITING_LIMIT:
            self.count("lost_host_slow")
            raise RefusedError(f"the host does not read: {WAITING_LIMIT} broadcasts wait for it")
        self._ids += 1
        self._waiting.append(_Sent(self._ids, sender, Broadcast(data=text), now))
        return self._ids

    def query(self, asker: Asker) -> None:
        """Raises `RefusedError`."""
        self._check_host()
        self._queries.ask(asker)

    def forget_asker(self, asker: Asker) -> None:
        self._queries.forget(asker)

    @property
    def is_heard(self) -> bool:
        """Whether anybody in this guest listens to its group."""
        return any(hearer.has_audience() for hearer in self.hearers)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # --- the port's verbs --------------------------------------------------------------------

    def attach(self) -> None:
        """The host is at the other end of the port."""
        self._present = True

    def detach(self) -> None:
        self._present = False
        lost = list(self._waiting)
        self._waiting.clear()
        self._unanswered.clear()
        for one in lost:
            self.count("lost_host_left")
            one.sender.tell_refused(one.id, "the host has left")
        self._queries.fail_all("the host has left")

    def receive(self, received: Received, now: float) -> None:
        """A message of the host's."""
        message, dest_addr = received.message, received.dest_addr
        if isinstance(message, StatusResponse):
            if not self._queries.receive_member(message.seq, message.data):
                self.count("unasked")
        elif isinstance(message, StatusResponseDone):
            if not self._queries.receive_done(message.seq):
                self.count("unasked")
        elif isinstance(message, ServerGroupNack):
            self.count("refused")
            self._receive_nack(message, dest_addr, now)
        elif isinstance(message, Broadcast):
            self.count("broadcasts_received")
            self._tell_hearers(message, dest_addr)
        elif isinstance(message, Notification):
            self.count("notifications_received")
            self._tell_hearers(message, dest_addr)
        else:
            self.count("ignored")

    @property
    def has_output(self) -> bool:
        return bool(self._waiting) or self._queries.ready

    def next_output(self, now: float) -> tuple[str, Broadcast | StatusQuery] | None:
        """The next message and the `source_addr` that it goes out from, once the port takes it."""
        if self._queries.ready:
            self.count("queries_sent")
            return self._queries.start(now)
        if not self._waiting:
            return None
        sent = self._waiting.popleft()
        sent.at = now
        self._unanswered.append(sent)
        self.count("broadcasts_sent")
        return sent.sender.address, sent.message

    def deadline(self) -> float | None:
        stale_at = self._waiting[0].at + STALE_S if self._waiting else None
        return earliest((stale_at, self._queries.deadline()))

    def wake(self, now: float) -> None:
        while self._waiting and now >= self._waiting[0].at + STALE_S:
            one = self._waiting.popleft()
            self.count("lost_host_slow")
            one.sender.tell_refused(one.id, f"the host did not read it within {STALE_S:g} s")
        self._queries.wake(now)

    # --- helpers -----------------------------------------------------------------------------

    def _check_host(self) -> None:
        if not self._present:
            raise RefusedError("no host is connected")

    def _receive_nack(self, nack: ServerGroupNack, dest_addr: str, now: float) -> None:
        log_msg = clip_text(nack.log_msg, LOG_MSG_LIMIT_BYTES)
        if nack.orig_msg_type == "status_query" and self._queries.refused(log_msg):
            return
        if nack.orig_msg_type == "broadcast":
            sent = self._refused_broadcast(dest_addr, now)
            if sent is not None:
                sent.sender.tell_refused(sent.id, log_msg)
                return
        word = clip_text(nack.orig_msg_type, WORD_LIMIT_BYTES)
        self._tell_hearers(ServerGroupNack(orig_msg_type=word, log_msg=log_msg), dest_addr)

    def _refused_broadcast(self, dest_addr: str, now: float) -> _Sent | None:
        """The oldest that a refusal to `dest_addr` may be about."""
        while self._unanswered and now >= self._unanswered[0].at + REFUSAL_LIMIT_S:
            self._unanswered.popleft()
        senders = (sent for sent in self._unanswered if sent.sender.address == dest_addr)
        found = next(senders, None)
        if found is None and dest_addr == SERVER_GROUP_ADDR and self._unanswered:
            found = self._unanswered[0]  # a host that answers to the standard address always
        if found is not None:
            self._unanswered.remove(found)
        return found

    def _tell_hearers(self, message: ServerGroupMessage, dest_addr: str) -> None:
        for hearer in self.hearers:
            hearer.hear(message, dest_addr)
