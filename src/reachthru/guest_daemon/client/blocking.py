"""The client for applications that wait: plain sockets, one thread."""

import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from reachthru.guest_daemon.client.conversation import (
    DEFAULT_PATH,
    TIMEOUT_S,
    Answer,
    Conversation,
    Event,
    Members,
    encode_request,
    read_members,
)
from reachthru.guest_daemon.errors import DoorError, NoDaemonError


class Client:
    """One connection to the guest daemon, for one thread.

    Every method raises `DoorError` when the daemon refuses, does not answer within `timeout_s`
    or has gone; the constructor raises `NoDaemonError` when none runs here. An application that
    was registered and whose connection ends without `leave` makes the VM unhealthy.
    """

    def __init__(self, path: str = DEFAULT_PATH, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._conversation = Conversation(path)
        self._failure: DoorError | None = None
        self._peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._peer.settimeout(timeout_s)
            self._peer.connect(path)
        except OSError as error:
            self._peer.close()
            raise self._explain(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._peer.close()

    # --- health ------------------------------------------------------------------------------

    def register(self, name: str, interval_ms: int) -> None:
        """From now on this application is part of the VM's health, and beats each interval."""
        self._ask("register", name=name, interval_ms=interval_ms)

    def beat(self, healthy: bool = True, log_msg: str = "") -> None:
        """At least once an interval; `log_msg` says what is wrong."""
        self._ask("beat", healthy=healthy, log_msg=log_msg)

    def leave(self) -> None:
        """No part of the VM's health any more."""
        self._ask("leave")

    # --- server group ------------------------------------------------------------------------

    def broadcast(self, data: str) -> int:
        """To every other VM of the group: at most 3050 bytes of UTF-8, no newline, no NUL.

        Best effort: it is on its way. Should the host refuse it, a `Refused` event with the id
        that this gives comes within about a second.
        """
        return int(self._ask("broadcast", data=data)["id"])

    def members(self) -> Members:
        """Every VM of the group as it is now."""
        return read_members(self._ask("members"))

    def listen(self) -> None:
        """From now on `next_event` gives the group's broadcasts and notifications, too."""
        self._ask("listen")

    def next_event(self, timeout_s: float | None = None) -> Event | None:
        """The next event; None when there was none for `timeout_s`. None waits without end."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (event := self._conversation.take_event()) is None:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self._receive(left_s)
            except (TimeoutError, BlockingIOError):  # the second one is the first, for no time
                return None
        return event

    def events(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Events as they come, until there was none for `timeout_s`."""
        while (event := self.next_event(timeout_s)) is not None:
            yield event

    # --- the daemon --------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What `reachthru-guest status --json` prints."""
        return self._ask("status")

    def check(self) -> dict[str, Any]:
        """As `status`, after every health check has run."""
        return self._ask("check")

    # --- helpers -----------------------------------------------------------------------------

    def _ask(self, op: str, **fields: Any) -> Answer:
        request = encode_request(op, fields)
        if self._failure is not None:  # an answer that is still to come would be the next one's
            raise self._failure
        deadline = time.monotonic() + self._timeout_s
        try:
            self._peer.settimeout(self._timeout_s)
            self._peer.sendall(request)
            while not self._conversation.answers:
                self._receive(max(0.001, deadline - time.monotonic()))
        except OSError as error:
            self._failure = self._explain(error)
            raise self._failure from error
        return self._conversation.check(self._conversation.answers.popleft())

    def _receive(self, timeout_s: float | None) -> None:
        self._peer.settimeout(timeout_s)
        try:
            data = self._peer.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise DoorError(f"{self._conversation.path}: the daemon closed the connection")
        self._conversation.feed(data)

    def _explain(self, error: OSError) -> DoorError:
        path = self._conversation.path
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return NoDaemonError(f"{path}: no reachthru-guest is running here")
        if isinstance(error, TimeoutError):
            return DoorError(f"{path}: no answer within {self._timeout_s:g} s")
        return DoorError(f"{path}: {error.strerror or error}")
