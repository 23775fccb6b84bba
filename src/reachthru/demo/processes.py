"""Processes that never outlive the lab: QEMU and the daemons of the demo and the tests."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from reachthru.demo.errors import DemoError

_POLL_S = 0.01


class Process:
    """One child, with its output in a file. Leaving the `with` block ends it, however it is.

    The kernel kills it should this process die first. It does so when the *thread* that started
    it ends, so start it from one that lasts, best the main one.
    """

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.log = log
        if shutil.which(self.command[0]) is None:
            raise DemoError(f"{self.command[0]} is not installed here")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def send(self, signal_number: signal.Signals) -> float:
        """Sends a signal. Returns the moment before, on the monotonic clock."""
        moment = time.monotonic()
        self._process.send_signal(signal_number)
        return moment

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or None if it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout_s: float = 5) -> None:
        """Asks it to end, makes it end after `timeout_s`, and leaves no zombie."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # a stopped one could not obey
            if self.wait(timeout_s) is None:
                self._process.kill()
        self._process.wait()

    def log_text(self) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
