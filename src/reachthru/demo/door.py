"""The lab's way into a guest: shell commands through a virtio-serial port of their own.

The other end is `guest_files/door`. The port has no notion of a connection that the guest would
see in time, so an answer carries its request's id, and one that nobody waits for any more is
read and dropped.
"""

import base64
import contextlib
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from reachthru.demo.errors import DemoError

PORT = "reachthru.lab"


class DoorError(DemoError):
    """The guest did not answer, or its QEMU is gone."""


@dataclass(frozen=True)
class CommandResult:
    exit_code: int
    output: str


class LabDoor:
    """Use from one thread. Connects at the first command, again after a loss."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._next_id = 0

    def run(self, command: str, timeout_s: float = 10) -> CommandResult:
        """Runs `command` in the guest's shell and waits for its end. Raises `DoorError`.

        A guest that is still booting takes it when it is up.
        """
        self._next_id += 1
        deadline = time.monotonic() + timeout_s
        try:
            self._send(self._next_id, command)
            while True:
                number, exit_code, size = self._line(deadline).split()
                output = self._take(int(size), deadline).decode(errors="replace")
                if int(number) == self._next_id:
                    return CommandResult(int(exit_code), output)
        except (OSError, ValueError) as error:
            self.close()
            raise DoorError(
                f"{self._path}: no answer to {command!r} within {timeout_s} s: {error}"
            ) from error

    def fire(self, command: str) -> None:
        """Sends `command` and waits for nothing: for what the guest does not survive."""
        self._next_id += 1
        try:
            self._send(self._next_id, command)
        except OSError as error:
            self.close()
            raise DoorError(f"{self._path}: can't send {command!r}: {error}") from error

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._buffer = b""

    def _send(self, number: int, command: str) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(2)
            self._socket.connect(str(self._path))
        encoded = base64.b64encode(command.encode()).decode()
        # The newline in front ends what a lost connection left unfinished.
        self._socket.sendall(f"\n{number} {encoded}\n".encode())

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            self._receive(deadline)
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            self._receive(deadline)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _receive(self, deadline: float) -> None:
        if self._socket is None:
            raise ConnectionError("not connected")
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        with contextlib.suppress(BlockingIOError):
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("QEMU closed the port")
            self._buffer += data
