"""The door of applications in the field (wire contract, section 6): UNIX datagram sockets.

All names are in Linux's abstract namespace: they have no file, no permissions, and vanish with
their process. Nobody at this door can make the daemon wait, and memory is bounded for each name.
"""

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from reachthru.guest_daemon.applications import RefusedError
from reachthru.guest_daemon.group.relay import Relay
from reachthru.guest_daemon.log import Log, PeerLog
from reachthru.protocol.codec import Received, decode_datagram, encode_datagram
from reachthru.protocol.errors import BadEnvelopeError, BadMessageError, PeerError
from reachthru.protocol.lines import LINE_LIMIT_BYTES
from reachthru.protocol.messages import (
    LOG_MSG_LIMIT_BYTES,
    SERVER_GROUP_ADDR,
    Broadcast,
    ServerGroupMessage,
    ServerGroupNack,
    StatusQuery,
    StatusResponse,
    StatusResponseDone,
    clip_text,
)
from reachthru.protocol.rate import TokenBucket

ADDRESS = "cgcs.messaging"
READS_LIMIT = 32  # at a step, so that a flood leaves the others their turn
NAMES_LIMIT = 16  # that have sent us something, besides the standard one
UNREAD_LIMIT = 64  # datagrams kept for a name whose socket is full
STALE_S = 2.0  # older than this a kept one is dropped
RETRY_FIRST_S = 0.01
RETRY_LONGEST_S = 0.16
OPEN_RETRY_S = 2.0
NACKS_PER_S = 1.0  # for what is no message at all
NACK_BURST = 5


class _Application:
    """One socket's name: sender and asker for the relay, and what waits for it to read."""

    def __init__(self, door: "DatagramDoor", address: str) -> None:
        self.address = address
        self.seq: int | None = None  # of its newest query
        self.unread: deque[tuple[float, bytes]] = deque()
        self._door = door

    def tell_refused(self, _broadcast_id: int, log_msg: str) -> None:
        self.refuse("broadcast", log_msg)

    def take_member(self, status: dict[str, Any]) -> None:
        self._door.send(self, StatusResponse(seq=self.seq or 0, data=status))

    def finish(self) -> None:
        self._door.send(self, StatusResponseDone(seq=self.seq or 0))

    def fail(self, log_msg: str) -> None:
        self.refuse("status_query", log_msg)

    def refuse(self, orig_msg_type: str, log_msg: str) -> None:
        text = clip_text(log_msg, LOG_MSG_LIMIT_BYTES)
        self._door.send(self, ServerGroupNack(orig_msg_type=orig_msg_type, log_msg=text))


class DatagramDoor:
    """A source of the loop's, and a hearer of the relay's."""

    def __init__(self, relay: Relay, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._relay = relay
        self._log = log
        self._peer_log = PeerLog(log)
        self._socket: socket.socket | None = None
        self._next_try = 0.0
        self._failure: str | None = None
        self._nacks = TokenBucket(NACKS_PER_S, NACK_BURST)
        self._standard = _Application(self, SERVER_GROUP_ADDR)
        self._applications: dict[str, _Application] = {}
        self._resend_at: float | None = None
        self._backoff_s = RETRY_FIRST_S
        relay.hearers.append(self)

    # --- what the loop asks ------------------------------------------------------------------

    def interest(self) -> Mapping[int, int]:
        return {} if self._socket is None else {self._socket.fileno(): select.POLLIN}

    def deadline(self) -> float | None:
        return self._next_try if self._socket is None else self._resend_at

    def step(self, now: float, ready: Collection[int]) -> None:
        if self._socket is None and now >= self._next_try:
            self._open(now)
        if ready:
            self._read(now)
        if self._resend_at is not None and now >= self._resend_at:
            self._resend(now)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # --- the relay's hearer ------------------------------------------------------------------

    def has_audience(self) -> bool:
        """Whether somebody has bound the standard name: it may hear without ever sending."""
        if self._socket is None:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            return probe.connect_ex(_name(SERVER_GROUP_ADDR)) in (0, errno.EPERM)

    def hear(self, message: ServerGroupMessage, dest_addr: str) -> None:
        application = self._find(dest_addr)
        if application is None:
            self._count("lost_unknown_name")
        else:
            self.send(application, message)

    def send(self, application: _Application, message: ServerGroupMessage) -> None:
        """Now, or soon, or not at all: an application that does not read holds up nobody."""
        datagram = encode_datagram(message)
        if not application.unread and self._put(application, datagram):
            return
        now = self._clock()
        if len(application.unread) >= UNREAD_LIMIT:
            application.unread.popleft()
            self._count("lost_application_slow")
        application.unread.append((now + STALE_S, datagram))
        if self._resend_at is None:
            self._backoff_s = RETRY_FIRST_S
            self._resend_at = now + self._backoff_s

    # --- applications to the daemon ----------------------------------------------------------

    def _open(self, now: float) -> None:
        door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        door.setblocking(False)
        try:
            door.bind(_name(ADDRESS))
        except OSError as error:
            door.close()
            self._next_try = now + OPEN_RETRY_S
            if self._failure is None:
                self._failure = error.strerror
                self._log.warning(f"datagram door @{ADDRESS}: {error.strerror}; waiting for it")
            return
        self._socket = door
        if self._failure is not None:
            self._failure = None
            self._log.info(f"datagram door @{ADDRESS}: open")

    def _read(self, now: float) -> None:
        assert self._socket is not None
        for _ in range(READS_LIMIT):
            try:
                data, _, flags, address = self._socket.recvmsg(LINE_LIMIT_BYTES)
            except OSError:  # there is no more, or what an application left behind
                return
            application = self._sender(address)
            if application is None:
                continue
            if flags & socket.MSG_TRUNC:
                self._count("line_too_long")
                continue
            try:
                received = decode_datagram(data.rstrip(b"\0"), application.address)
            except PeerError as error:
                self._refuse_garbage(application, error, now)
            else:
                self._receive(application, received, now)

    def _receive(self, application: _Application, received: Received, now: float) -> None:
        message = received.message
        try:
            if isinstance(message, Broadcast):
                self._relay.broadcast(application, message.data, now)
            elif isinstance(message, StatusQuery):
                self._relay.forget_asker(application)  # its newer query cancels its older one
                application.seq = message.seq
                self._relay.query(application)
            else:  # what only a host says, or a heartbeat, which is the daemon's own
                self._count("ignored")
        except RefusedError as error:
            application.refuse(str(type(message).__struct_config__.tag), str(error))

    def _refuse_garbage(self, application: _Application, error: PeerError, now: float) -> None:
        self._count(error.reason)
        self._peer_log.warning(f"from application {application.address!a}: {error}", now)
        if isinstance(error, BadEnvelopeError | BadMessageError) and self._nacks.take(now):
            application.refuse("unknown", str(error))

    # --- names -------------------------------------------------------------------------------

    def _sender(self, address: object) -> _Application | None:
        """Who has sent a datagram; None if it has no name that an answer could go to."""
        if not isinstance(address, bytes) or not address.startswith(b"\0"):
            self._count("no_abstract_name")
            return None
        try:
            name = address[1:].decode()
        except UnicodeDecodeError:
            self._count("no_abstract_name")
            return None
        known = self._find(name)
        if known is not None:
            return known
        if len(self._applications) >= NAMES_LIMIT:
            self._forget(next(iter(self._applications.values())))
        self._applications[name] = application = _Application(self, name)
        return application

    def _find(self, name: str) -> _Application | None:
        return self._standard if name == SERVER_GROUP_ADDR else self._applications.get(name)

    def _forget(self, application: _Application) -> None:
        application.unread.clear()
        self._relay.forget_asker(application)
        self._applications.pop(application.address, None)

    def _count(self, what: str) -> None:
        self._relay.count(f"datagrams_{what}")

    # --- the daemon to applications ----------------------------------------------------------

    def _put(self, application: _Application, datagram: bytes) -> bool:
        """Whether that is done with: sent, or it never can be. False: its socket is full."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto(datagram, _name(application.address))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                return False
            self._count("lost_application_absent")
            self._forget(application)
        return True

    def _resend(self, now: float) -> None:
        progress = left = False
        for application in (self._standard, *self._applications.values()):
            unread = application.unread
            while unread and now >= unread[0][0]:
                unread.popleft()
                self._count("lost_application_slow")
            while unread and self._put(application, unread[0][1]):
                progress = True
                if unread:  # it has not turned out to be gone
                    unread.popleft()
            left = left or bool(unread)
        self._backoff_s = RETRY_FIRST_S if progress else min(2 * self._backoff_s, RETRY_LONGEST_S)
        self._resend_at = now + self._backoff_s if left else None


def _name(address: str) -> bytes:
    return b"\0" + address.encode()
