"""A Mosquitto of a test's own, which can be killed and frozen."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from servers.postgresql import free_port

PROGRAM = "/usr/sbin/mosquitto"  # Debian's place; `make setup` installs it
START_S = 10


class MosquittoServer:
    """Listens on 127.0.0.1:`port`. `settings` are further lines of mosquitto.conf."""

    def __init__(self, *settings: str) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="reachthru-mqtt-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        lines = (
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            f"user {pwd.getpwuid(os.getuid()).pw_name}",
            *settings,
        )
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def __enter__(self) -> "MosquittoServer":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log[-2000:])
            time.sleep(0.02)

    def kill(self) -> None:
        """As a loss of power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """It answers nobody, and its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
