"""What every kind of port offers to the daemon: bytes, and whether the host is there."""

import os
import select
from abc import ABC, abstractmethod
from collections.abc import Mapping

from msgspec import Struct

READ_LIMIT_BYTES = 8 * 1024  # at a step, so that a flooding host leaves the others their turn
RETRY_FIRST_S = 0.1
RETRY_LONGEST_S = 2.0


class Opened(Struct, frozen=True):
    """The port could be opened; the host need not be there yet."""


class Failed(Struct, frozen=True):
    """The port can't be opened or has vanished; it is tried again. Said once a reason."""

    reason: str


class HostArrived(Struct, frozen=True):
    """The host is at the other end."""


class HostLeft(Struct, frozen=True):
    """The host has left; everything that it had sent was given out before this."""


class Data(Struct, frozen=True):
    data: bytes


PortEvent = Opened | Failed | HostArrived | HostLeft | Data


class Transport(ABC):
    """One port. No call blocks and, once it is made, none raises."""

    @abstractmethod
    def state(self) -> str:
        """For people: whether it is open and whether the host is there."""

    @abstractmethod
    def interest(self) -> Mapping[int, int]:
        """Descriptors to watch, with their poll(2) events."""

    @abstractmethod
    def deadline(self) -> float | None:
        """When to call `step` even if nothing is ready."""

    @abstractmethod
    def step(self, now: float) -> list[PortEvent]:
        """Opens, looks for the host, reads: what has happened, in order."""

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Writes what the port takes at once and returns how many bytes that was.

        After a short write, `step` comes when the port takes more.
        """

    @abstractmethod
    def close(self) -> None: ...


class FdTransport(Transport):
    """What ports that are one file descriptor share: opening with backoff, reading, writing."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._present = False
        self._blocked = False
        self._broken: str | None = None  # why a write says that the port is no more
        self._failure: str | None = None
        self._backoff_s = RETRY_FIRST_S
        self._next_try = 0.0

    # --- what each kind adds -----------------------------------------------------------------

    @abstractmethod
    def _open(self, now: float) -> list[PortEvent]:
        """Tries to open the port; raises `OSError`."""

    def _ended(self, now: float) -> list[PortEvent]:
        """The port has been read to its end: the host has left."""
        return self._lose("closed by the other end", now)

    # --- the shell's verbs -------------------------------------------------------------------

    def state(self) -> str:
        if self._fd is None:
            return f"not open: {self._failure}" if self._failure else "not open"
        return "host connected" if self._present else "open, host not connected"

    def interest(self) -> Mapping[int, int]:
        if self._fd is None or not self._present:
            return {}
        return {self._fd: select.POLLIN | (select.POLLOUT if self._blocked else 0)}

    def deadline(self) -> float | None:
        if self._broken is not None:
            return 0.0
        return self._next_try if self._fd is None else None

    def step(self, now: float) -> list[PortEvent]:
        if self._broken is not None:
            return self._lose(self._broken, now)
        if self._fd is not None:
            return self._step_open(now)
        if now < self._next_try:
            return []
        try:
            events = self._open(now)
        except OSError as error:
            return self._fail(error.strerror or str(error), now)
        self._backoff_s = RETRY_FIRST_S
        self._failure = None
        return events

    def write(self, data: bytes) -> int:
        if self._fd is None or not self._present:
            return 0
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._broken = error.strerror
            return 0
        self._blocked = written < len(data)
        return written

    def close(self) -> None:
        if self._fd is not None:
            self._close_fd(self._fd)
        self._fd = None
        self._present = self._blocked = False
        self._broken = None

    # --- helpers -----------------------------------------------------------------------------

    def _step_open(self, now: float) -> list[PortEvent]:
        return self._read(now)

    def _close_fd(self, fd: int) -> None:
        os.close(fd)

    def _read(self, now: float) -> list[PortEvent]:
        assert self._fd is not None
        self._blocked = False
        try:
            data = os.read(self._fd, READ_LIMIT_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            return self._lose(error.strerror or str(error), now)
        return [Data(data)] if data else self._ended(now)

    def _lose(self, reason: str, now: float) -> list[PortEvent]:
        """The port is no more: closed, and tried again."""
        was_present = self._present
        self.close()
        return [*([HostLeft()] if was_present else []), *self._fail(reason, now)]

    def _fail(self, reason: str, now: float) -> list[PortEvent]:
        self._next_try = now + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, RETRY_LONGEST_S)
        if reason == self._failure:
            return []
        self._failure = reason
        return [Failed(reason)]
