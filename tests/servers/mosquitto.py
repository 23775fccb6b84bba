"""A Mosquitto of a test's own, which can be killed."""

import contextlib
import socket
import subprocess
import time
from pathlib import Path

from servers.ports import free_port

PROGRAM = "/usr/sbin/mosquitto"  # Debian's place; `make setup` installs it
START_S = 60


class MosquittoServer:
    """Keeps nothing over its end. `folder` takes its settings and its log.

    `more` are further lines of mosquitto.conf.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", more: str = "") -> None:
        self._address = address
        self.port = free_port(address)
        self.url = f"mqtt://{address}:{self.port}"
        self.log = folder / "broker.log"
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(
            f"user root\nlistener {self.port} {address}\nallow_anonymous true\n{more}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "MosquittoServer":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-c", self._settings], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection((self._address, self.port)).close()
                return
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
