"""A real controller process, a real webhook receiver, and a simulated agent on the real bus."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reachthru.bus import BusUnavailableError, agent_bus
from reachthru.protocol.agent_bus import FaultAck, FaultChange
from servers.ports import free_port

DEADLINE_S = 60


async def until(condition, deadline_s=DEADLINE_S):
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.005)


class Receiver:
    """A webhook. `mode`: answer, hang, or a status line; keeps what it was told, in order.

    `chance`: a random.Random that makes it answer 503 every third time.
    """

    def __init__(self):
        self.mode = "answer"
        self.chance = None
        self.told = []
        self.latencies_ms = []
        self.attempts = 0
        self._handlers = set()

    async def open(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/fault"

    async def close(self):
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._handlers.add(asyncio.current_task())
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
        ):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = head.split("content-length: ")[1].split("\r\n")[0]
                fault = json.loads(await reader.readexactly(int(length)))
                now = time.time()
                self.attempts += 1
                if self.mode == "hang":  # whoever asked then is never answered
                    await asyncio.Event().wait()
                status = "200 OK" if self.mode == "answer" else self.mode
                if self.chance is not None and self.chance.random() < 1 / 3:
                    status = "503 Not now"
                elif self.mode == "answer":
                    self.told.append(fault)
                    detected = datetime.fromisoformat(fault["cleared_at"] or fault["raised_at"])
                    self.latencies_ms.append((now - detected.timestamp()) * 1000)
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())


class ControllerProcess:
    """`reachthru-controller` with its files in `folder`; can be killed and started again."""

    def __init__(self, folder: Path, webhook_url: str, database_url: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.bus_port, self.api_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.bus_url = f"mqtt://127.0.0.1:{self.bus_port}"
        self.settings = folder / "controller.conf"
        self.settings.write_text(
            f"[bus]\nurl = mqtt://embedded:{self.bus_port}\n"
            f"[database]\nconnection = {database_url or f'sqlite:///{folder}/db/c.sqlite'}\n"
            f"[api]\nlisten = 127.0.0.1:{self.api_port}\n"
            "[sinks]\nenabled = log, webhook\n"
            f"[sink_webhook]\nurl = {webhook_url}\ntimeout = 1\n"
        )
        self.process = None
        self.environment = {}

    async def start(self):
        with (self.folder / "stderr").open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "reachthru.controller_server.cli",
                "--config-file",
                self.settings,
                stderr=stderr,
                env={**os.environ, **self.environment},
            )
        async with asyncio.timeout(DEADLINE_S):
            while True:
                with contextlib.suppress(OSError):
                    if (await self.get("/readyz"))["status"] == "ready":
                        return
                await asyncio.sleep(0.02)

    async def kill(self):
        """As the kernel does."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self):
        """Returns (exit code, seconds that it took)."""
        started = time.monotonic()
        self.process.terminate()
        code = await asyncio.wait_for(self.process.wait(), DEADLINE_S)
        return code, time.monotonic() - started

    async def get(self, path):
        def ask():
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
                return json.load(answer)

        return await asyncio.to_thread(ask)

    def log(self):
        return (self.folder / "stderr").read_text()


class SimulatedAgent:
    """An agent with an outbox: repeats what is not acknowledged at each connection."""

    def __init__(self, url, host="compute-0"):
        self.host = host
        self.bus = agent_bus(url, host)
        self.outbox = {}
        self._seq = 0

    async def __aenter__(self):
        self.bus.on_connection = lambda connected: connected and self._flushes()
        await self.bus.__aenter__()
        self._reading = asyncio.create_task(self._read())
        self._flushing = []
        await until(lambda: self.bus.connected)
        return self

    async def __aexit__(self, *error):
        await self.bus.__aexit__(*error)
        for task in (self._reading, *self._flushing):
            task.cancel()

    def change(self, fault_id, status="raised", instance="uuid-1"):
        self._seq += 1
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        return FaultChange(
            fault_id=fault_id,
            seq=self._seq,
            status=status,
            kind="heartbeat_lost",
            severity="critical",
            instance_uuid=instance,
            instance_name=f"name of {instance}",
            host=self.host,
            raised_at=now,
            cleared_at=now if status == "cleared" else None,
            detail="no answer to challenge 17 within 400 ms",
            stages_ms={"last_good": -812.5, "deadline": -2.0, "detected": 0.0},
        )

    async def raise_all(self, changes):
        for change in changes:
            self.outbox[change.seq] = change
        await asyncio.gather(*(self._send(change) for change in changes))

    async def _send(self, change):
        with contextlib.suppress(BusUnavailableError):
            await self.bus.send(change)

    def _flushes(self):
        self._flushing.append(asyncio.create_task(self._flush()))

    async def _flush(self):
        for change in list(self.outbox.values()):
            await self._send(change)

    async def _read(self):
        async for message in self.bus.messages():
            if isinstance(message, FaultAck):
                for seq in message.seqs:
                    self.outbox.pop(seq, None)


@pytest.fixture
async def receiver():
    opened = Receiver()
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def controller(tmp_path, receiver):
    """Not started yet."""
    process = ControllerProcess(tmp_path, receiver.url)
    yield process
    if process.process is not None and process.process.returncode is None:
        await process.kill()


@pytest.fixture
async def two_controllers(tmp_path, receiver, postgresql_url):
    """Of one PostgreSQL, each with a broker of its own; not started yet."""
    pair = [ControllerProcess(tmp_path / name, receiver.url, postgresql_url) for name in "ab"]
    yield pair
    for process in pair:
        if process.process is not None and process.process.returncode is None:
            await process.kill()


@pytest.fixture
def make_agent_of():
    """make_agent_of(controller, host): an agent at that controller's broker."""
    return lambda controller, host: SimulatedAgent(controller.bus_url, host)


@pytest.fixture
def make_agent(controller):
    return lambda host="compute-0": SimulatedAgent(controller.bus_url, host)


@pytest.fixture
def wait_until():
    return until
