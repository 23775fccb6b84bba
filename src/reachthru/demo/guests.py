"""The demo's two kinds of guest: a real VM, and the guest daemon alone behind a simulated port."""

import json
import shlex
import signal
import time
import uuid as uuids
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

from reachthru.demo.errors import DemoError
from reachthru.demo.image import GuestImage
from reachthru.demo.processes import Process
from reachthru.demo.qemu_vm import QemuVm
from reachthru.demo.stack import installed

INTERVAL_MS = 400  # SAL1
_START_TIMEOUT_S = 30
_POLL_S = 0.02

# interval_s: how often the file is looked for. The host hears of it at its next challenge.
_SETTINGS = """
[channel]
port = "{port}"
[heartbeat]
service_level = "SAL1"
[[health_check]]
name = "application"
unhealthy_file = "{unhealthy_file}"
interval_s = 0.2
[applications]
socket = "{applications_socket}"
"""
_COMMAND = "reachthru-guest {} --config /run/reachthru/guest.toml"


class DemoGuest(ABC):
    """Booted at `with`, gone after it. Injuries return the monotonic moment before they happen."""

    uuid: str

    @abstractmethod
    def start(self) -> None:
        """Begins to boot; several can boot at once."""

    @abstractmethod
    def wait_until_up(self) -> None:
        """Returns when the guest daemon has been started."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def status(self) -> dict[str, object]:
        """What `reachthru-guest status --json` says in the guest."""

    @abstractmethod
    def be_unhealthy(self) -> float: ...

    @abstractmethod
    def be_healthy(self) -> float: ...

    @abstractmethod
    def hang(self) -> float:
        """The guest stops in its tracks, and its port stays open."""

    @abstractmethod
    def kill(self) -> float:
        """QEMU's process is killed; the port's socket file stays behind."""

    @abstractmethod
    def network_interfaces(self) -> list[str]:
        """What the guest could reach its peers by, if it had no port."""

    @abstractmethod
    def listen(self) -> None:
        """Starts an application in the guest that listens to its server group."""

    def wait_listening(self) -> None:
        """Until that application hears. Raises `DemoError`."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.status()["group_is_heard"]:
            if time.monotonic() > deadline:
                raise DemoError(f"nothing listens to its group: {self.last_words()}")

    @abstractmethod
    def heard(self) -> list[dict[str, Any]]:
        """What that application has heard, in order."""

    @abstractmethod
    def broadcast(self, text: str) -> float: ...

    @abstractmethod
    def last_words(self) -> str:
        """The end of its log, for when something did not work."""

    def boot(self) -> None:
        self.start()
        self.wait_until_up()

    def __enter__(self) -> Self:
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class RealGuest(DemoGuest):
    """A VM under QEMU."""

    _UNHEALTHY_FILE = "/run/reachthru/unhealthy"
    _HEARD_FILE = "/run/heard"

    def __init__(self, image: GuestImage, folder: Path, ports: Path) -> None:
        settings = _SETTINGS.format(
            port="virtio:///dev/virtio-ports/cgcs.messaging",
            unhealthy_file=self._UNHEALTHY_FILE,
            applications_socket="/run/reachthru/guest.sock",
        )
        self._vm = QemuVm(image, folder, ports, settings)
        self.uuid = self._vm.uuid

    def start(self) -> None:
        self._vm.start()

    def wait_until_up(self) -> None:
        self._vm.wait_until_up()

    def close(self) -> None:
        self._vm.close()

    def status(self) -> dict[str, object]:
        return _parsed(self._vm.run(f"{_COMMAND.format('status')} --json").output)

    def be_unhealthy(self) -> float:
        moment = time.monotonic()
        self._vm.run(f"echo the disk is full >{self._UNHEALTHY_FILE}")
        return moment

    def be_healthy(self) -> float:
        moment = time.monotonic()
        self._vm.run(f"rm {self._UNHEALTHY_FILE}")
        return moment

    def hang(self) -> float:
        return self._vm.panic()

    def kill(self) -> float:
        return self._vm.kill()

    def network_interfaces(self) -> list[str]:
        names = self._vm.run("ls /sys/class/net").output.split()
        return [name for name in names if name != "lo"]

    def listen(self) -> None:
        self._vm.run(f"{_COMMAND.format('listen')} --json >{self._HEARD_FILE} 2>&1 &")

    def heard(self) -> list[dict[str, Any]]:
        return _lines(self._vm.run(f"cat {self._HEARD_FILE}").output)

    def broadcast(self, text: str) -> float:
        moment = time.monotonic()
        self._vm.run(f"{_COMMAND.format('broadcast')} {shlex.quote(text)}")
        return moment

    def last_words(self) -> str:
        return _tail(self._vm.console_text())


class SimulatedGuest(DemoGuest):
    """The real guest daemon, listening on a socket that stands for QEMU's end of its port."""

    def __init__(self, folder: Path, ports: Path) -> None:
        self.uuid = str(uuids.uuid4())
        self._folder = folder / self.uuid[:8]
        self._folder.mkdir()
        self._port_path = ports / f"cgcs.messaging.{self.uuid}.sock"
        self._unhealthy_file = self._folder / "unhealthy"
        self._settings = self._folder / "guest.toml"
        self._settings.write_text(
            _SETTINGS.format(
                port=f"unix://{self._port_path}",
                unhealthy_file=self._unhealthy_file,
                applications_socket=self._folder / "guest.sock",
            )
        )
        self._program = str(installed("reachthru-guest"))
        self._daemon: Process | None = None
        self._listener: Process | None = None

    @property
    def daemon(self) -> Process:
        if self._daemon is None:
            raise DemoError("the guest daemon has not been started")
        return self._daemon

    def start(self) -> None:
        self._daemon = Process(self._command("run"), self._folder / "guest.log")

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._port_path.exists():
            if self.daemon.exit_code is not None or time.monotonic() > deadline:
                raise DemoError(f"the guest daemon did not start: {self.last_words()}")
            time.sleep(_POLL_S)

    def close(self) -> None:
        for process in (self._listener, self._daemon):
            if process is not None:
                process.stop()
        self._port_path.unlink(missing_ok=True)

    def status(self) -> dict[str, object]:
        return _parsed(self._ask("status", "--json"))

    def be_unhealthy(self) -> float:
        moment = time.monotonic()
        self._unhealthy_file.write_text("the disk is full\n")
        return moment

    def be_healthy(self) -> float:
        moment = time.monotonic()
        self._unhealthy_file.unlink()
        return moment

    def hang(self) -> float:
        return self.daemon.send(signal.SIGSTOP)

    def kill(self) -> float:
        return self.daemon.send(signal.SIGKILL)

    def network_interfaces(self) -> list[str]:
        return []  # its daemon uses none of this machine's

    def listen(self) -> None:
        self._listener = Process(self._command("listen", "--json"), self._folder / "heard.json")

    def heard(self) -> list[dict[str, Any]]:
        return _lines(self._listener.log_text() if self._listener is not None else "")

    def broadcast(self, text: str) -> float:
        moment = time.monotonic()
        self._ask("broadcast", text)
        return moment

    def last_words(self) -> str:
        return _tail(self.daemon.log_text())

    def _command(self, *words: str) -> list[str]:
        return [self._program, *words, "--config", str(self._settings)]

    def _ask(self, *words: str) -> str:
        log = self._folder / f"{words[0]}.json"
        log.unlink(missing_ok=True)
        with Process(self._command(*words), log) as asking:
            asking.wait(_START_TIMEOUT_S)
            return asking.log_text()


def _parsed(output: str) -> dict[str, object]:
    try:
        status: dict[str, object] = json.loads(output)
    except ValueError as error:
        raise DemoError(f"`reachthru-guest status` says: {output.strip()}") from error
    return status


def _lines(output: str) -> list[dict[str, Any]]:
    """One JSON object a line; the last line may be half written."""
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith("\n")]


def _tail(text: str, lines: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
