"""A virtio-serial port: the character device `/dev/virtio-ports/<port name>`.

The kernel's rules (drivers/char/virtio_console.c): with no host connected poll says POLLHUP and
POLLIN without end, a read of an empty port gives nothing and a write EAGAIN. What the host sent
before it left can still be read. One process at a time can open the port (EBUSY); a port that
was unplugged gives ENODEV.
"""

import errno
import os
import select
import stat

from reachthru.guest_daemon.transports.base import (
    READ_LIMIT_BYTES,
    Data,
    FdTransport,
    HostArrived,
    HostLeft,
    Opened,
    PortEvent,
)

LOOK_S = 0.2  # between two looks for a host that is not there: half a SAL1 interval


class VirtioTransport(FdTransport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._next_look = 0.0

    def deadline(self) -> float | None:
        if self._fd is None or self._present or self._broken is not None:
            return super().deadline()
        return self._next_look

    def _open(self, now: float) -> list[PortEvent]:
        fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        if not stat.S_ISCHR(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ENODEV, "not a character device")
        self._fd = fd
        return [Opened(), *self._look(now)]

    def _step_open(self, now: float) -> list[PortEvent]:
        if self._present:
            return self._read(now)
        return self._look(now) if now >= self._next_look else []

    def _look(self, now: float) -> list[PortEvent]:
        """Whether the host is there now. Watching the descriptor would spin on POLLHUP."""
        assert self._fd is not None
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        if not any(flags & select.POLLHUP for _fd, flags in poller.poll(0)):
            self._present = True
            return [HostArrived(), *self._read(now)]
        self._next_look = now + LOOK_S
        try:  # a host that came and left between two looks may have said something
            data = os.read(self._fd, READ_LIMIT_BYTES)
        except OSError as error:
            return self._lose(error.strerror or str(error), now)
        return [Data(data)] if data else []

    def _ended(self, now: float) -> list[PortEvent]:
        self._present = False
        self._next_look = now + LOOK_S
        return [HostLeft()]
