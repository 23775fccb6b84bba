"""A plain serial line, for guests whose hypervisor has no virtio-serial. Needs pyserial.

The line can't tell whether a host is at its other end: the port counts as attached for as long
as it is open, and the heartbeat core finds a silent host by its own timer.
"""

import errno

from reachthru.guest_daemon.errors import TransportUnavailableError
from reachthru.guest_daemon.transports.base import (
    FdTransport,
    HostArrived,
    Opened,
    PortEvent,
)

try:
    import serial
except ImportError as error:
    raise TransportUnavailableError(
        "a serial:// port needs pyserial: install reachthru[guest], or Debian's python3-serial"
    ) from error


class SerialTransport(FdTransport):
    """pyserial opens and sets the line (raw, 8N1); bytes go through the descriptor itself."""

    def __init__(self, path: str, baudrate: int) -> None:
        super().__init__()
        self._path = path
        self._baudrate = baudrate
        self._line: serial.Serial | None = None

    def state(self) -> str:
        return super().state() if self._fd is None else "open; a serial line shows no host"

    def _open(self, _now: float) -> list[PortEvent]:
        try:
            line = serial.Serial(self._path, self._baudrate, timeout=0, exclusive=True)
        except (serial.SerialException, ValueError) as error:
            raise OSError(getattr(error, "errno", None) or errno.EIO, str(error)) from error
        self._line = line
        self._fd = line.fileno()
        self._present = True
        return [Opened(), HostArrived()]

    def _close_fd(self, _fd: int) -> None:
        assert self._line is not None
        self._line.close()
        self._line = None
