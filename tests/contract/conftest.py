"""Carriers to hold to the contract, each with a way to cut it off."""

import asyncio
import contextlib
import socket
import struct
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reachthru.bus import memory
from reachthru.controller_server.embedded_broker import EmbeddedBroker

MOSQUITTO = "/usr/sbin/mosquitto"  # Debian's place; `make setup` installs it


class Carrier(ABC):
    """A broker that a test can cut off, heal, and speak to in bad grammar."""

    url: str

    @abstractmethod
    async def cut(self) -> None: ...

    @abstractmethod
    async def heal(self) -> None: ...

    @abstractmethod
    async def vanish(self, host: str) -> None:
        """The agent of `host`, the only one, is gone without a word."""

    @abstractmethod
    async def publish_up(self, host: str, payload: bytes) -> None:
        """As if the agent of `host` had sent `payload`."""


class MemoryCarrier(Carrier):
    def __init__(self) -> None:
        name = uuid.uuid4().hex
        self.url = f"memory://{name}"
        self._broker = memory.broker(name)

    async def cut(self) -> None:
        self._broker.cut()

    async def heal(self) -> None:
        self._broker.heal()

    async def vanish(self, host: str) -> None:
        self._broker.kill(host)

    async def publish_up(self, host: str, payload: bytes) -> None:
        self._broker.publish_up(host, payload)


class Proxy:
    """Forwards TCP connections to a port, until it is told to drop or to freeze them."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.frozen = False
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def drop(self) -> None:
        """Every connection breaks, and new ones are refused."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, there_writer}
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                while self.frozen:
                    await asyncio.sleep(0.01)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


class MqttCarrier(Carrier):
    """A broker behind a proxy. Agents and controllers come through the proxy."""

    def __init__(self, port: int) -> None:
        self._broker_port = port
        self.proxy = Proxy(port)

    async def open(self) -> None:
        await self.proxy.open()
        self.url = f"mqtt://127.0.0.1:{self.proxy.port}"

    @property
    def direct_url(self) -> str:
        return f"mqtt://127.0.0.1:{self._broker_port}"

    async def cut(self) -> None:
        await self.proxy.drop()

    async def heal(self) -> None:
        await self.proxy.open()

    async def vanish(self, host: str) -> None:
        await self.proxy.drop()

    async def publish_up(self, host: str, payload: bytes) -> None:
        """By hand: MQTT 3.1.1, CONNECT and a PUBLISH of QoS 0."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        writer.write(_packet(0x10, _text("MQTT") + b"\x04\x02\x00\x3c" + _text(uuid.uuid4().hex)))
        await reader.readexactly(4)
        writer.write(_packet(0x30, _text(f"reachthru/1/agent/{host}/up") + payload))
        writer.write(_packet(0xE0, b""))
        await writer.drain()
        writer.close()


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([kind]) + digits + body


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def _mosquitto(folder: Path) -> AsyncIterator[int]:
    port = _free_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    broker = await asyncio.create_subprocess_exec(
        MOSQUITTO,
        "-c",
        settings,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(500):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.01)
        yield port
    finally:
        broker.terminate()
        await broker.wait()


@contextlib.asynccontextmanager
async def _mqtt(kind: str, folder: Path) -> AsyncIterator[MqttCarrier]:
    async with contextlib.AsyncExitStack() as stack:
        if kind == "embedded":
            port = (await stack.enter_async_context(EmbeddedBroker(0))).port
        else:
            port = await stack.enter_async_context(_mosquitto(folder))
        carrier = MqttCarrier(port)
        await carrier.open()
        stack.push_async_callback(carrier.proxy.drop)
        yield carrier


@pytest.fixture(params=["embedded", "mosquitto"])
async def mqtt_carrier(request, tmp_path) -> AsyncIterator[MqttCarrier]:
    async with _mqtt(request.param, tmp_path) as carrier:
        yield carrier


@pytest.fixture(params=["memory", "embedded", "mosquitto"])
async def carrier(request, tmp_path) -> AsyncIterator[Carrier]:
    if request.param == "memory":
        yield MemoryCarrier()
        return
    async with _mqtt(request.param, tmp_path) as carrier:
        yield carrier
