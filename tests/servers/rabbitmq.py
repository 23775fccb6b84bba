"""A RabbitMQ of a test's own, which can be stopped, killed, and frozen."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from servers.ports import free_port

PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # Debian's place; `make setup` installs it
START_S = 120  # 7 on an idle machine


class RabbitMqServer:
    """Its node name, ports and folder are its own; it listens on 127.0.0.1:`port`, about 10 s
    after `start`. The user guest, with the password guest, may do everything.

    `settings` are further lines of rabbitmq.conf; `plugins` are enabled.
    """

    def __init__(self, *settings: str, plugins: tuple[str, ...] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="reachthru-rabbit-", dir="/tmp"))
        self.port, self._dist_port, self._epmd_port = (free_port() for _ in range(3))
        self._node = f"reachthru-{uuid.uuid4().hex[:12]}@localhost"
        self._process: subprocess.Popen[bytes] | None = None
        self._vhosts: list[str] = []
        (self.folder / "rabbitmq.conf").write_text("\n".join(settings) + "\n")
        (self.folder / "plugins").write_text(f"[{','.join(plugins)}].\n")

    def __enter__(self) -> "RabbitMqServer":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """oslo.messaging's, for Nova."""
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    @property
    def log(self) -> str:
        files = [self.folder / "out", *(self.folder / "log").glob("*@localhost.log")]
        return "".join(file.read_text(errors="replace") for file in files)

    def make_vhost(self) -> str:
        """A fresh, empty virtual host for guest; returns its name."""
        if not self._vhosts:  # many in one go, since each go takes half a second
            self._vhosts = [f"t{uuid.uuid4().hex[:12]}" for _ in range(30)]
            rights = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
            self.import_definitions(
                {
                    "vhosts": [{"name": name} for name in self._vhosts],
                    "permissions": [rights | {"vhost": name} for name in self._vhosts],
                }
            )
        return self._vhosts.pop()

    def import_definitions(self, definitions: dict[str, object]) -> None:
        file = self.folder / "definitions.json"
        file.write_text(json.dumps(definitions))
        self.control("import_definitions", str(file))

    def start(self) -> None:
        with (self.folder / "out").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "rabbitmq-server"],
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log[-4000:])
            time.sleep(0.1)

    def kill(self) -> None:
        """As a loss of power: every process at once. What is not durable is forgotten."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        """It answers nobody, and its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def control(self, *arguments: str) -> str:
        """rabbitmqctl, with RabbitMQ's own words as the error. About a second each."""
        done = subprocess.run(
            [PROGRAMS / "rabbitmqctl", "--silent", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def _signal(self, number: int) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        """Erlang's helpers leave our process group; their environment still names our folder."""
        mark = f"HOME={self.folder}".encode()
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environment.read_bytes().split(b"\0"):
                    found.append(int(environment.parent.name))
        return found

    def _answers(self) -> bool:
        address = ("127.0.0.1", self.port)
        with contextlib.suppress(OSError), socket.create_connection(address, 1) as door:
            door.settimeout(2)
            door.sendall(b"AMQP\0\0\x09\x01")
            return bool(door.recv(1))
        return False

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
            ),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
        }
