"""Everything between a sick guest and its consumer, each part a process that can be killed."""

import asyncio
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from chaos.consumer import Taken
from servers.mosquitto import MosquittoServer
from servers.ports import free_port
from servers.postgresql import PostgresqlServer
from servers.rabbitmq import RabbitMqServer

HERE = Path(__file__).parent
STARTS = "--- starts\n"


class Part(ABC):
    """`kill` is kill -9. Both are called from a thread, and return when it is done."""

    name: str

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def kill(self) -> None: ...


class ProcessPart(Part):
    def __init__(self, name: str, log: Path, *command: object) -> None:
        self.name = name
        self.log = log
        self._command = [str(word) for word in command]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            log.write(STARTS.encode())
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    @property
    def died(self) -> bool:
        """By itself: nobody killed it."""
        return self._process is not None and self._process.poll() not in (None, -signal.SIGKILL)


class ServerPart(Part):
    def __init__(
        self, name: str, server: MosquittoServer | RabbitMqServer | PostgresqlServer
    ) -> None:
        self.name = name
        self._server = server

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self._server.kill()


class ChaosCloud:
    """Agents and controllers, beside a broker and a database that run already."""

    def __init__(
        self,
        folder: Path,
        broker: MosquittoServer | RabbitMqServer,
        database: PostgresqlServer,
        webhook: str,
        *,
        agents: int,
        controllers: int,
    ) -> None:
        self.folder = folder
        self.deaths: list[str] = []
        self.broker = ServerPart("broker", broker)
        self.database = ServerPart("database", database)
        is_rabbit = isinstance(broker, RabbitMqServer)
        self._bus_url = f"{'rabbit' if is_rabbit else 'mqtt'}://127.0.0.1:{broker.port}"
        self.database_url = database.make_database()
        self.controllers = [
            ProcessPart(
                f"controller-{number}",
                folder / f"controller-{number}.log",
                *(sys.executable, "-m", "reachthru.controller_server.cli"),
                *("--config-file", self._configure(number, webhook)),
            )
            for number in range(controllers)
        ]
        self.agents = [
            ProcessPart(
                f"host-{number}",
                folder / f"host-{number}.log",
                *(sys.executable, HERE / "simulated_agent.py"),
                *(f"host-{number}", self._bus_url, folder),
            )
            for number in range(agents)
        ]

    @property
    def parts(self) -> list[Part]:
        return [self.broker, self.database, *self.controllers, *self.agents]

    def open(self) -> None:
        upgrade = [sys.executable, "-m", "reachthru.controller_server.cli", "--config-file"]
        settings = self.folder / "controller-0.conf"
        subprocess.run([*upgrade, settings, "db", "upgrade"], check=True, capture_output=True)
        for part in (*self.controllers, *self.agents):
            part.start()

    def close(self) -> None:
        for part in (*self.agents, *self.controllers):
            part.kill()

    def end_illnesses(self) -> None:
        (self.folder / "calm").touch()
        for path in self.folder.glob("*.waiting"):  # it may be of an agent that is dead
            path.unlink(missing_ok=True)

    async def supervise(self) -> None:
        """Starts again who ended by itself, as systemd would, and keeps its last words."""
        while True:
            for part in (*self.controllers, *self.agents):
                if part.died:
                    life = part.log.read_text(errors="replace").rpartition(STARTS)[2]
                    self.deaths.append(f"{part.name}: {life}")
                    part.start()
            await asyncio.sleep(0.5)

    def all_acknowledged(self) -> bool:
        """Every agent has said so since the end of the illnesses."""
        return list(self.waiting().values()) == ["0"] * len(self.agents)

    def waiting(self) -> dict[str, str]:
        """How many changes nobody has acknowledged, as each agent last said."""
        return {path.stem: path.read_text() for path in self.folder.glob("*.waiting")}

    def journal(self) -> list[Taken]:
        """Everything that was said to be sendable, in each agent's order, once each."""
        lines: dict[Taken, None] = {}
        for path in sorted(self.folder.glob("*.journal")):
            for line in path.read_text().splitlines():
                lines[Taken(*line.split())] = None
        return list(lines)

    def logs(self, last: int = 2500) -> str:
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-last:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _configure(self, number: int, webhook: str) -> Path:
        path = self.folder / f"controller-{number}.conf"
        path.write_text(
            f"[bus]\nurl = {self._bus_url}\n"
            f"[database]\nconnection = {self.database_url}\n"
            f"[api]\nlisten = 127.0.0.1:{free_port()}\n"
            f"[hosts]\nlost_after_s = 0\n"  # nobody is to blame a host here
            f"[sinks]\nenabled = webhook\n[sink_webhook]\nurl = {webhook}\ntimeout = 2\n"
        )
        return path


async def until(check: Callable[[], object], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, f"not in {timeout_s:g} s: {what}"
        await asyncio.sleep(0.1)
