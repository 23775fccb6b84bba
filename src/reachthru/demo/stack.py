"""A controller, a host agent and a consumer on this machine: the real programs, free ports."""

import json
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from reachthru.demo.consumer import Consumer
from reachthru.demo.errors import DemoError
from reachthru.demo.processes import Process
from reachthru.demo.vm import BOOT_TIMEOUT_S

HOST = "compute-0"
_START_TIMEOUT_S = 60  # 2 on an idle machine
_POLL_S = 0.02
_LOG_TAIL_LINES = 15

_CONTROLLER = """
[bus]
{bus}
[database]
connection = sqlite:///{folder}/controller.sqlite
[api]
listen = 127.0.0.1:{api_port}
[sinks]
enabled = log,webhook
[sink_webhook]
url = {webhook_url}
[groups]
static_file = {groups_file}
"""
_HOST = """
[DEFAULT]
host = {host}
[discovery]
driver = {discovery}
[directory]
path = {ports}
[libvirt]
hotplug = true
[bus]
{bus}
[outbox]
path = {folder}/{host}.sqlite
{more}
"""


class StackError(DemoError):
    """A daemon did not start, or something did not come about; says what the daemons said."""


class Stack:
    """Started at `with`, gone after it, its folder too. Use from one thread.

    `ports` is where a directory-discovering agent looks for sockets; `groups` are the server
    groups, as uuids of instances by the group's id. `add_host` makes it a cloud. `bus` is what
    all settings say of their bus, by default a broker inside the controller; `host_settings` is
    more for the agents'.
    """

    def __init__(
        self,
        discovery: str = "directory",
        groups: Mapping[str, Sequence[str]] | None = None,
        *,
        bus: str | None = None,
        host_settings: str = "",
    ) -> None:
        # Not pytest's tmp_path: a UNIX socket's path has 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="reachthru-"))
        self.ports = self.folder / "ports"
        self.ports.mkdir()
        self.consumer = Consumer()
        bus_port = free_port()
        self._controller_bus = bus or f"url = mqtt://embedded:{bus_port}"
        self._host_bus = bus or f"url = mqtt://127.0.0.1:{bus_port}"
        self._host_settings = host_settings
        self._api_port = free_port()
        self._groups_file = self._write("groups.yaml", json.dumps(groups or {}))
        self._discovery = discovery
        self.controller: Process | None = None
        self.host_agent: Process | None = None
        self.more_agents: list[Process] = []

    def start(self) -> None:
        """Returns when the agent has been seen by the controller. Raises `StackError`."""
        self.start_controller()
        self.start_host_agent()
        self._wait_online(HOST)

    def start_controller(self) -> None:
        settings = self._write(
            "controller.conf",
            _CONTROLLER.format(
                bus=self._controller_bus,
                folder=self.folder,
                api_port=self._api_port,
                webhook_url=self.consumer.url,
                groups_file=self._groups_file,
            ),
        )
        self.controller = self._daemon("reachthru-controller", settings)
        self.wait_until(lambda: self.get("/readyz") is not None, "the controller")

    def start_host_agent(self) -> None:
        self.host_agent = self._agent(HOST, self._discovery, self.ports)

    def add_host(self, host: str) -> Path:
        """Another compute node, whose agent looks for sockets in the folder that this returns."""
        ports = self.folder / f"ports-{host}"
        ports.mkdir()
        self.more_agents.append(self._agent(host, "directory", ports))
        self._wait_online(host)
        return ports

    def use_groups(self, groups: Mapping[str, Sequence[str]]) -> None:
        """From here on these are the server groups; returns when the controller knows them."""
        self._write("groups.yaml", json.dumps(groups))

        def are_known() -> bool:
            known = (self.get("/v1/groups") or {"groups": []})["groups"]
            return {group["id"] for group in known} == set(groups)

        self.wait_until(are_known, "the groups at the controller")

    def get(self, path: str) -> dict[str, Any] | None:
        """What the controller's REST answers with 200, else None."""
        try:
            url = f"http://127.0.0.1:{self._api_port}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (urllib.error.URLError, OSError):
            return None

    def instance(self, uuid: str) -> dict[str, Any]:
        """The instance as REST shows it; empty while nobody knows it."""
        answer = self.get(f"/v1/instances/{uuid}") or {"instances": []}
        found: dict[str, Any] = next(iter(answer["instances"]), {})
        return found

    def active_faults(self, uuid: str) -> list[dict[str, Any]]:
        answer = self.get(f"/v1/faults?active=true&instance={uuid}") or {"faults": []}
        faults: list[dict[str, Any]] = answer["faults"]
        return faults

    def wait_until(
        self, done: Callable[[], bool], what: str, timeout_s: float = _START_TIMEOUT_S
    ) -> None:
        """Raises `StackError`, with what the daemons said last, if `done` does not come true."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise StackError(f"waited {timeout_s} s in vain for {what}\n{self.logs()}")
            for daemon in self._daemons():
                if daemon.exit_code is not None:
                    name = Path(daemon.command[0]).name
                    raise StackError(f"{name} ended by itself\n{self.logs()}")
            time.sleep(_POLL_S)

    def wait_registered(self, uuid: str, timeout_s: float = BOOT_TIMEOUT_S) -> dict[str, Any]:
        self.wait_until(
            lambda: bool(self.instance(uuid).get("registered")),
            f"the registration of {uuid}",
            timeout_s,
        )
        return self.instance(uuid)

    def logs(self) -> str:
        """The last lines of every daemon."""
        parts = []
        for daemon in self._daemons():
            tail = daemon.log_text().splitlines()[-_LOG_TAIL_LINES:]
            parts.append("\n  ".join([f"{Path(daemon.command[0]).name} said last:", *tail]))
        return "\n".join(parts)

    def close(self) -> None:
        for daemon in self._daemons():
            daemon.stop()
        self.consumer.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _daemons(self) -> list[Process]:
        daemons = (*self.more_agents, self.host_agent, self.controller)
        return [daemon for daemon in daemons if daemon is not None]

    def _wait_online(self, name: str) -> None:
        def is_online() -> bool:
            hosts = (self.get("/v1/hosts") or {"hosts": []})["hosts"]
            return any(host["host"] == name for host in hosts)

        self.wait_until(is_online, f"the agent of {name} at the controller")

    def _agent(self, host: str, discovery: str, ports: Path) -> Process:
        settings = self._write(
            f"{host}.conf",
            _HOST.format(
                host=host,
                discovery=discovery,
                ports=ports,
                bus=self._host_bus,
                folder=self.folder,
                more=self._host_settings,
            ),
        )
        return self._daemon("reachthru-host", settings)

    def _daemon(self, program: str, settings: Path) -> Process:
        command = [str(installed(program)), "--config-file", str(settings)]
        return Process(command, settings.with_suffix(".log"))

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


def installed(program: str) -> Path:
    """One of our own commands, of the same installation that runs now."""
    return Path(sys.prefix) / "bin" / program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
