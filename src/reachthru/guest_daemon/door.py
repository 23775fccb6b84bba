"""The applications' door: a UNIX stream socket that speaks JSON lines, an object each way.

It carries lines only; `ops` says what they mean. A bad line gets an error and costs that line.
"""

import os
import select
import socket
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from reachthru.guest_daemon.log import Log
from reachthru.guest_daemon.loop import earliest
from reachthru.guest_daemon.sockets import listen
from reachthru.protocol.lines import LineBuffer

CONNECTIONS_LIMIT = 64
MODE = 0o660  # for root and the socket's group
READ_LIMIT_BYTES = 4096  # of a connection at a step
UNREAD_LIMIT_BYTES = 64 * 1024  # answers kept for an application that does not read them
EVENTS_LIMIT = 64  # kept for an application that reads too slowly; the newest
RETRY_S = 2.0

Answer = dict[str, Any]


class Connection:
    """One application's connection. `number` is never used again."""

    def __init__(self, number: int, peer: socket.socket) -> None:
        self.number = number
        self.lines = LineBuffer()
        self._peer = peer
        self._unsent = bytearray()
        self._events: deque[bytes] = deque(maxlen=EVENTS_LIMIT)
        self._dropped = 0  # events, since the application was last told

    def fileno(self) -> int:
        return self._peer.fileno()

    def interest(self) -> int:
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)

    def read(self) -> bytes | None:
        """What has arrived; b"" at its end; None when nothing has."""
        try:
            return self._peer.recv(READ_LIMIT_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def send(self, answer: Answer) -> None:
        """Answers that the application does not read are dropped beyond a limit."""
        line = encode_line(answer)
        if not self._unsent or len(self._unsent) + len(line) <= UNREAD_LIMIT_BYTES:
            self._unsent += line
            self.flush()

    def push(self, line: bytes) -> None:
        """An event for an application that listens; the same bytes for all who do.

        One that reads too slowly loses the oldest, and is told how many.
        """
        if len(self._events) == EVENTS_LIMIT:
            self._dropped += 1
        self._events.append(line)
        self.flush()

    def flush(self) -> None:
        while self._unsent or self._next_event():
            try:
                sent = self._peer.send(self._unsent)
            except OSError:  # full, or its end, which reading finds
                return
            del self._unsent[:sent]

    def _next_event(self) -> bool:
        if self._dropped:
            self._unsent += encode_line({"event": "dropped", "count": self._dropped})
            self._dropped = 0
        elif self._events:
            self._unsent += self._events.popleft()
        return bool(self._unsent)

    def close(self) -> None:
        self._peer.close()


def encode_line(message: Answer) -> bytes:
    return msgspec.json.encode(message) + b"\n"


class Listener(Protocol):
    """Whoever gives the lines their meaning."""

    def hear(self, connection: Connection, line: bytes, now: float) -> None: ...

    def forget(self, connection: Connection, now: float) -> None:
        """The connection has ended."""

    def deadline(self) -> float | None: ...

    def wake(self, now: float) -> None: ...


class Door:
    """Opens the socket, with retries, and serves its connections in turn."""

    def __init__(self, path: str, listener: Listener, log: Log) -> None:
        self._path = path
        self._listener = listener
        self._log = log
        self._socket: socket.socket | None = None
        self._connections: dict[int, Connection] = {}
        self._numbers = 0
        self._next_try = 0.0
        self._failure: str | None = None

    def interest(self) -> Mapping[int, int]:
        watched = {fd: one.interest() for fd, one in self._connections.items()}
        if self._socket is not None and len(self._connections) < CONNECTIONS_LIMIT:
            watched[self._socket.fileno()] = select.POLLIN
        return watched

    def deadline(self) -> float | None:
        retry_at = self._next_try if self._socket is None else None
        return earliest((self._listener.deadline(), retry_at))

    def step(self, now: float, ready: Collection[int]) -> None:
        if self._socket is None and now >= self._next_try:
            self._open(now)
        # What has arrived comes before timers, as beats may wait here while we were stopped.
        for connection in [one for fd, one in self._connections.items() if fd in ready]:
            self._serve(connection, now)
        if self._socket is not None and self._socket.fileno() in ready:
            self._accept(self._socket)
        self._listener.wake(now)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with suppress(OSError):
                os.unlink(self._path)

    def _open(self, now: float) -> None:
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._socket = listen(self._path, MODE, backlog=CONNECTIONS_LIMIT)
        except OSError as error:
            self._next_try = now + RETRY_S
            if self._failure != error.strerror:
                self._failure = error.strerror
                self._log.warning(
                    f"applications' door {self._path}: {error.strerror}; "
                    f"trying again every {RETRY_S:g} s"
                )
            return
        if self._failure is not None:
            self._log.info(f"applications' door {self._path}: open")
            self._failure = None

    def _accept(self, door: socket.socket) -> None:
        try:
            peer, _address = door.accept()
        except OSError:  # it left before it was let in
            return
        peer.setblocking(False)
        self._numbers += 1
        self._connections[peer.fileno()] = Connection(self._numbers, peer)

    def _serve(self, connection: Connection, now: float) -> None:
        connection.flush()
        data = connection.read()
        if data is None:
            return
        if not data:
            del self._connections[connection.fileno()]
            connection.close()
            self._listener.forget(connection, now)
            return
        for line in connection.lines.feed(data):
            if isinstance(line, bytes):
                self._listener.hear(connection, line, now)
            else:
                connection.send({"ok": False, "error": str(line)})
