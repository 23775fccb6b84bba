"""QEMU's monitor, as far as the lab needs it: one command at a time, answers by id."""

import json
import socket
import time
from pathlib import Path
from typing import Any, Self

from reachthru.demo.errors import DemoError

_POLL_S = 0.005


class QmpError(DemoError):
    """QEMU refused a command, or its monitor is gone."""


class Qmp:
    """A connection to a monitor socket. Not for use by two threads at once."""

    def __init__(self, path: Path, timeout_s: float = 20) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise QmpError(f"{path}: QEMU's monitor can't be reached: {error.strerror}") from error
        self._file = self._socket.makefile("rwb")
        self._next_id = 0
        self._read()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> Any:
        """The command's return value. Raises `QmpError`."""
        self._next_id += 1
        request = {"execute": command, "arguments": arguments, "id": self._next_id}
        try:
            self._file.write(json.dumps(request).encode() + b"\n")
            self._file.flush()
            while (answer := self._read()).get("id") != self._next_id:
                pass  # an event
        except OSError as error:
            raise QmpError(f"QMP {command}: QEMU is gone or silent: {error}") from error
        if "error" in answer:
            raise QmpError(f"QMP {command}: {answer['error']['desc']}")
        return answer["return"]

    def run_job(self, command: str, **arguments: object) -> None:
        """A command that starts a job: returns when that is done. Raises `QmpError`."""
        self.execute(command, **{"job-id": command, **arguments})
        while not (jobs := [job for job in self._jobs(command) if job["status"] == "concluded"]):
            time.sleep(_POLL_S)
        self.execute("job-dismiss", id=command)
        if "error" in jobs[0]:
            raise QmpError(f"QMP {command}: {jobs[0]['error']}")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _jobs(self, name: str) -> list[dict[str, Any]]:
        return [job for job in self.execute("query-jobs") if job["id"] == name]

    def _read(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise QmpError("QEMU closed its monitor")
        message: dict[str, Any] = json.loads(line)
        return message
