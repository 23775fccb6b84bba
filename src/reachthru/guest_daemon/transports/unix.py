"""A UNIX stream socket: `unix:///path`, for hypervisors that offer one, and for tests.

Where somebody listens at the path the daemon connects to it; otherwise it listens there itself
and stands for QEMU's end of the port, one host at a time. Whichever it was the first time, it
stays.
"""

import os
import select
import socket
from collections.abc import Mapping
from contextlib import suppress

from reachthru.guest_daemon.sockets import connect, listen
from reachthru.guest_daemon.transports.base import (
    FdTransport,
    HostArrived,
    HostLeft,
    Opened,
    PortEvent,
)


class UnixTransport(FdTransport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._is_client = False
        self._listener: socket.socket | None = None

    def state(self) -> str:
        if self._listener is not None and not self._present:
            return "open, host not connected"
        return super().state()

    def interest(self) -> Mapping[int, int]:
        if self._listener is not None and not self._present:
            return {self._listener.fileno(): select.POLLIN}
        return super().interest()

    def deadline(self) -> float | None:
        if self._listener is not None and self._broken is None:
            return None
        return super().deadline()

    def close(self) -> None:
        super().close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with suppress(OSError):
                os.unlink(self._path)

    def _open(self, _now: float) -> list[PortEvent]:
        if self._listener is not None:
            return self._accept(self._listener)
        try:
            self._fd = connect(self._path).detach()
        except (FileNotFoundError, ConnectionRefusedError):
            if self._is_client:
                raise
            self._listener = listen(self._path)
            return [Opened()]
        self._is_client = self._present = True
        return [Opened(), HostArrived()]

    def _accept(self, listener: socket.socket) -> list[PortEvent]:
        try:
            peer, _address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it left before it was let in
            return []
        peer.setblocking(False)
        self._fd = peer.detach()
        self._present = True
        return [HostArrived()]

    def _lose(self, reason: str, now: float) -> list[PortEvent]:
        """A listener goes on listening for the next host; a client connects again."""
        if self._listener is None:
            return super()._lose(reason, now)
        super().close()
        return [HostLeft()]
