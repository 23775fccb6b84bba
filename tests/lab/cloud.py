"""Real host agents, a real controller with its broker, and guests of others' making."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lab.plain_guest import PlainGuest
from servers.ports import free_port


class Cloud:
    """Compute nodes, their folders of ports, and a file of groups.

    `groups_source`, set before the start, is what the controller's settings say instead of it.
    """

    def __init__(self, folder: Path, hosts: tuple[str, ...] = ("host-a", "host-b")) -> None:
        self.folder = folder
        self.hosts = hosts
        self.groups_file = folder / "groups.yaml"
        self.groups_file.write_text("{}")
        self.groups_source = f"[groups]\nstatic_file = {self.groups_file}"
        self.guests: list[PlainGuest] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.releases: dict[str, Path] = {}  # PYTHONPATH of who is of another version
        self.extra_host_settings = ""
        self.extra_group_settings = ""
        self._bus_port, self._api_port = free_port(), free_port()
        for host in self.hosts:
            self.ports(host).mkdir()

    def ports(self, host: str) -> Path:
        return self.folder / f"ports-{host}"

    async def start(self) -> None:
        await self.start_controller()
        for host in self.hosts:
            self.start_agent(host)
        await self.until(lambda: len(self.get("/v1/hosts")["hosts"]) == len(self.hosts))

    async def start_controller(self) -> None:
        settings = self.folder / "controller.conf"
        settings.write_text(
            f"[bus]\nurl = mqtt://embedded:{self._bus_port}\n"
            f"[database]\nconnection = sqlite:///{self.folder}/controller.sqlite\n"
            f"[api]\nlisten = 127.0.0.1:{self._api_port}\n"
            f"{self.groups_source}\n{self.extra_group_settings}\n"
        )
        self._start("controller", "reachthru.controller_server.cli", settings)
        await self.until(lambda: self.get("/readyz"))

    def start_agent(self, host: str) -> None:
        settings = self.folder / f"{host}.conf"
        settings.write_text(
            f"[DEFAULT]\nhost = {host}\n[discovery]\ndriver = directory\n"
            f"[directory]\npath = {self.ports(host)}\n"
            f"[bus]\nurl = mqtt://127.0.0.1:{self._bus_port}\n"
            f"[outbox]\npath = {self.folder}/{host}.sqlite\n{self.extra_host_settings}\n"
        )
        self._start(host, "reachthru.host_agent.cli", settings)

    def _start(self, name: str, module: str, settings: Path) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, "--config-file", settings],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(self.releases[name])}
                if name in self.releases
                else None,
            )

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(10)

    async def guest(
        self, host: str, *, base_version: int = 1, name: str | None = None
    ) -> PlainGuest:
        """A guest that its agent is connected to, and that the controller knows."""
        guest = PlainGuest(name or str(uuid.uuid4()), base_version)
        self.guests.append(guest)
        await guest.appear(self.ports(host))
        await self.known(guest, host)
        return guest

    async def known(self, guest: PlainGuest, host: str) -> None:
        def is_there() -> bool:
            found = self.get("/v1/instances")["instances"]
            return (guest.uuid, host, "running") in [
                (item["uuid"], item["host"], item["state"]) for item in found
            ]

        await self.until(is_there)

    async def group(self, **groups: list[PlainGuest]) -> None:
        """Writes the file, and returns when the controller has read it."""
        content = {name: [guest.uuid for guest in guests] for name, guests in groups.items()}
        new = self.groups_file.with_suffix(".new")
        new.write_text(yaml.safe_dump(content))
        new.rename(self.groups_file)

        def is_read() -> bool:
            shown = self.get("/v1/groups")["groups"]
            return content == {
                group["id"]: [member["uuid"] for member in group["members"]] for group in shown
            }

        await self.until(is_read)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._api_port}"

    def get(self, path: str) -> Any:
        """What REST answers; empty while it does not."""
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer,
        ):
            text = answer.read().decode()
            return text if path == "/metrics" else json.loads(text)
        return {}

    def metric(self, start: str) -> float:
        """The sum of all samples whose line starts so."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(start)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def until(self, check: Callable[[], Any], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not await asyncio.to_thread(check):
            assert time.monotonic() < deadline, f"not in {timeout_s} s\n{self.logs()}"
            await asyncio.sleep(0.02)

    def logs(self) -> str:
        return "\n".join(
            f"{name}: {(self.folder / f'{name}.log').read_text()[-3000:]}"
            for name in self.processes
        )

    async def close(self) -> None:
        for guest in self.guests:
            await guest.vanish()
        for process in self.processes.values():
            process.kill()
            process.wait(10)
