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
    """A webhook, or another receiver of HTTP. `mode`: answer, hang, trickle, or a status line (and
    headers); keeps what it was told, in order.

    `reply(method, path, body)`: status line and body of an answer; `detected_at(body)`: when what
    it was told of was detected, in ISO 8601. `chance`: a random.Random that makes it answer 503
    every third time.
    """

    def __init__(self, reply=None, detected_at=None):
        self.mode = "answer"
        self.chance = None
        self.told = []
        self.latencies_ms = []
        self.attempts = 0
        self._handlers = set()
        self._reply = reply or (lambda *_request: ("200 OK", b""))
        self._detected_at = detected_at or (lambda body: body["cleared_at"] or body["raised_at"])
        self._port = 0

    async def open(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]  # the same one when opened again
        self.address = f"http://127.0.0.1:{self._port}"
        self.url = f"{self.address}/fault"

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
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path = head.split()[:2]
                length = head.lower().partition("content-length: ")[2].split("\r\n")[0]
                body = json.loads(await reader.readexactly(int(length or 0)) or "null")
                await self._answer(writer, method, path, body)
        writer.close()

    async def _answer(self, writer, method, path, told):
        now = time.time()
        self.attempts += 1
        if self.mode == "hang":  # whoever asked then is never answered
            await asyncio.Event().wait()
        if self.mode == "trickle":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        status, body = self.mode, b'{"error": "it did not work"}'
        if self.chance is not None and self.chance.random() < 1 / 3:
            status = "503 Not now"
        elif self.mode == "answer":
            status, body = self._reply(method, path, told)
            if told is not None:
                self.told.append(told)
                detected = datetime.fromisoformat(self._detected_at(told))
                if detected.tzinfo is None:
                    detected = detected.replace(tzinfo=UTC)
                self.latencies_ms.append((now - detected.timestamp()) * 1000)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


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

    def add_sink(self, name, **options):
        """Before it starts."""
        lines = "".join(f"{key} = {value}\n" for key, value in options.items())
        text = self.settings.read_text().replace("enabled = ", f"enabled = {name}, ")
        self.settings.write_text(f"{text}[sink_{name}]\n{lines}")

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
