"""A real host agent in a process of its own, real guests' sockets, a real broker, and a controller
of which only the ears are real."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from reachthru.bus import ControllerBus, controller_bus
from reachthru.controller_server.embedded_broker import EmbeddedBroker
from reachthru.protocol.agent_bus import AgentOffline, AgentReport, FaultAck, FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus

HERE = Path(__file__).parent
HOST = "compute-test"


async def until(check: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """What `check` gives once it gives something; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (result := check()):
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {check}"
        await asyncio.sleep(0.005)
    return result


class Players:
    """`field_guest.py` as a process; what it says is read in the background."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.uuids: list[str] = []
        self.said: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(json.loads(line))

    async def ready(self) -> None:
        await until(lambda: self.said or self.process.returncode is not None)
        self.uuids = self.said[0]["uuids"]

    async def do(self, verb: str, *guests: int, **arguments: Any) -> float:
        """Returns the monotonic moment at which it was done."""
        before = len(self.said)
        order = {"do": verb, "guests": guests or [0], "arguments": arguments}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await until(lambda: [m for m in self.said[before:] if m["event"] == "done"])
        return float(self.said[-1]["at"])

    async def summary(self) -> list[dict[str, Any]]:
        before = len(self.said)
        await self.do("summary", 0)
        found = next(m for m in self.said[before:] if m["event"] == "summary")
        return list(found["guests"])

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self._reading.cancel()


class AgentProcess:
    def __init__(self, settings: Path, log: Path) -> None:
        self._settings = settings
        self.log_path = log
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: list[str] = []  # of the command

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def start(self) -> None:
        module = "reachthru.host_agent.cli"
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", module, "--config-file", self._settings],
                stdout=output,
                stderr=output,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    async def terminate(self) -> float:
        """Returns how long it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        await until(lambda: self.process.poll() is not None)
        assert self.process.returncode == 0
        return time.monotonic() - began

    def cpu_s(self) -> float:
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


class Lab:
    """A compute node: `ports` is the folder of sockets, `faults` what a controller was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = folder / "ports"
        self.ports.mkdir()
        self.faults: list[FaultChange] = []
        self.received_at: list[float] = []
        self.reports: list[AgentReport] = []
        self.offline: list[AgentOffline] = []
        self.acknowledging = True
        self.instances: dict[str, Any] = {}
        self.agent = AgentProcess(folder / "host.conf", folder / "agent.log")
        self._players: list[Players] = []
        self._stack = contextlib.AsyncExitStack()
        self.broker: EmbeddedBroker

    async def open(self) -> None:
        self.broker = await self._stack.enter_async_context(EmbeddedBroker(port=0))
        url = f"mqtt://127.0.0.1:{self.broker.port}"
        self.configure(url)
        await self.listen_on(url)

    async def listen_at(self, port: int) -> None:
        """A controller at another broker, which starts now."""
        await self._stack.enter_async_context(EmbeddedBroker(port=port))
        await self.listen_on(f"mqtt://127.0.0.1:{port}")

    async def listen_on(self, url: str) -> None:
        bus = controller_bus(url, "test")
        await self._stack.enter_async_context(bus)
        listening = asyncio.create_task(self._listen(bus))
        self._stack.callback(listening.cancel)
        await until(lambda: bus.connected)

    def configure(self, bus_url: str, *, extra: str = "") -> None:
        (self.folder / "host.conf").write_text(
            f"[DEFAULT]\nhost = {HOST}\n"
            f"[discovery]\ndriver = directory\n[directory]\npath = {self.ports}\n"
            f"[bus]\nurl = {bus_url}\n"
            f"[outbox]\npath = {self.folder}/state/outbox.sqlite\n{extra}\n"
        )

    async def start(self) -> None:
        """The agent, and returns when it is connected."""
        before = len(self.reports)
        self.agent.start()
        await until(lambda: len(self.reports) > before)

    async def play(self, *options: str, seed: int = 1, count: int = 1) -> Players:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, HERE / "field_guest.py", self.ports, *options),
            *("--seed", str(seed), "--count", str(count)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        players = Players(process)
        self._players.append(players)
        await players.ready()
        return players

    async def registered(self, *uuids: str, timeout_s: float = 10.0) -> None:
        """Until these guests have answered at least once, as far as a controller knows."""
        await until(
            lambda: all(
                (known := self.instances.get(uuid)) is not None
                and known.registered
                and known.health is not None
                for uuid in uuids
            ),
            timeout_s,
        )

    async def fault(
        self,
        kind: FaultKind,
        status: FaultStatus = FaultStatus.RAISED,
        uuid: str | None = None,
        timeout_s: float = 5.0,
    ) -> FaultChange:
        """The latest such change, as soon as there is one."""

        def find() -> FaultChange | None:
            for change in reversed(self.faults):
                is_wanted = (change.kind, change.status) == (kind, status)
                if is_wanted and uuid in (None, change.instance_uuid):
                    return change
            return None

        change: FaultChange = await until(find, timeout_s)
        return change

    async def registered_not(self, *uuids: str) -> None:
        await until(lambda: not any(self.instances[uuid].registered for uuid in uuids))

    async def quiet(self, seconds: float, expected: int = 0) -> None:
        """Time passes, and no more than `expected` changes were ever told."""
        await asyncio.sleep(seconds)
        assert len(self.told()) == expected, self.told()

    async def left(self, uuid: str) -> None:
        await until(lambda: uuid not in self.instances)

    async def all_cleared(self) -> None:
        """Every fault that was told has been cleared."""
        await until(lambda: self._active() == set())

    def _active(self) -> set[str]:
        active: set[str] = set()
        for change in self.faults:
            if change.status is FaultStatus.RAISED:
                active.add(change.fault_id)
            else:
                active.discard(change.fault_id)
        return active

    async def gone_offline(self, *, clean: bool) -> None:
        await until(lambda: self.offline and self.offline[-1].clean is clean)

    def arrival(self, change: FaultChange) -> float:
        """The monotonic moment at which a controller was first told."""
        return self.received_at[self.faults.index(change)]

    def told(self) -> list[tuple[str, str]]:
        """(kind, status) of every change, repeats left out, in the order of their arrival."""
        seen = {(change.fault_id, change.status): change for change in self.faults}
        return [(change.kind.value, change.status.value) for change in seen.values()]

    async def close(self) -> None:
        self.agent.kill()
        for players in self._players:
            await players.stop()
        await self._stack.aclose()

    async def _listen(self, bus: ControllerBus) -> None:
        async for host, message in bus.messages():
            if isinstance(message, FaultChange):
                self.faults.append(message)
                self.received_at.append(time.monotonic())
                if self.acknowledging:
                    await bus.send(host, FaultAck(seqs=[message.seq]))
            elif isinstance(message, AgentReport):
                self._take_report(message)
            else:
                self.offline.append(message)

    def _take_report(self, report: AgentReport) -> None:
        self.reports.append(report)
        if report.full:
            self.instances.clear()
        self.instances.update({instance.uuid: instance for instance in report.instances})
        for uuid in report.gone:
            self.instances.pop(uuid, None)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:  # tmp_path is too long for a socket
        lab = Lab(Path(folder))
        try:
            await lab.open()
            yield lab
        finally:
            await lab.close()
            print(lab.agent.log[-5000:])
