"""Carriers to hold to the contract, each with a way to cut it off."""

import asyncio
import contextlib
import json
import struct
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine

import kombu

from lab.proxy import Proxy
from reachthru.bus import ControllerBus, controller_bus, memory

Kill = Callable[[], Coroutine[None, None, None]]


class Carrier(ABC):
    """A broker that a test can cut off, heal, and speak to in bad grammar.

    A test has it for itself: no message of another test may arrive.
    """

    url: str

    @abstractmethod
    async def cut(self) -> None:
        """Every connection through `url` breaks, and new ones are refused, until `heal`."""

    @abstractmethod
    async def heal(self) -> None: ...

    @abstractmethod
    async def vanish(self, host: str) -> None:
        """The agent of `host`, the only one, is gone without a word."""

    @abstractmethod
    async def publish_up(self, host: str, payload: bytes) -> None:
        """As if the agent of `host` had sent `payload` as work."""

    @abstractmethod
    async def publish_news(self, host: str, payload: bytes) -> None:
        """As if the agent of `host` had sent `payload` as news."""

    @abstractmethod
    async def mortal_controller(self, name: str) -> tuple[ControllerBus, Kill]:
        """A controller, not entered yet, and what kills it: the others stay connected."""


class RemoteCarrier(Carrier):
    """One with a broker, at `port`. Agents and controllers come to it through a proxy."""

    def __init__(self, port: int, stack: contextlib.AsyncExitStack) -> None:
        self.broker_port = port
        self._stack = stack

    @abstractmethod
    def url_at(self, port: int) -> str: ...

    async def open(self) -> None:
        self.proxy = await self._open_proxy()
        self.url = self.url_at(self.proxy.port)

    async def cut(self) -> None:
        await self.proxy.cut()

    async def heal(self) -> None:
        await self.proxy.open()

    async def vanish(self, host: str) -> None:
        await self.proxy.cut()

    async def freeze(self) -> None:
        """Connections stay, new ones are accepted, and nothing moves, until `thaw`."""
        self.proxy.hold()

    async def thaw(self) -> None:
        self.proxy.release()

    async def mortal_controller(self, name: str) -> tuple[ControllerBus, Kill]:
        proxy = await self._open_proxy()
        return controller_bus(self.url_at(proxy.port), name), proxy.cut

    async def _open_proxy(self) -> Proxy:
        proxy = Proxy(self.broker_port)
        await proxy.open()
        self._stack.push_async_callback(proxy.cut)
        return proxy


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

    async def publish_news(self, host: str, payload: bytes) -> None:
        self._broker.publish_news(host, payload)

    async def mortal_controller(self, name: str) -> tuple[ControllerBus, Kill]:
        async def kill() -> None:
            self._broker.kill_controller(name)

        return controller_bus(self.url, name), kill


class MqttCarrier(RemoteCarrier):
    def url_at(self, port: int) -> str:
        return f"mqtt://127.0.0.1:{port}"

    @property
    def direct_url(self) -> str:
        return self.url_at(self.broker_port)

    async def publish_up(self, host: str, payload: bytes) -> None:
        await self._publish(f"reachthru/1/agent/{host}/up", payload)

    async def publish_news(self, host: str, payload: bytes) -> None:
        await self._publish(f"reachthru/1/agent/{host}/news", payload)

    async def _publish(self, topic: str, payload: bytes) -> None:
        """By hand: MQTT 3.1.1, CONNECT and a PUBLISH of QoS 0."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
        writer.write(_packet(0x10, _text("MQTT") + b"\x04\x02\x00\x3c" + _text(uuid.uuid4().hex)))
        await reader.readexactly(4)
        writer.write(_packet(0x30, _text(topic) + payload))
        writer.write(_packet(0xE0, b""))
        await writer.drain()
        writer.close()


class RabbitCarrier(RemoteCarrier):
    """A virtual host of RabbitMQ."""

    def __init__(self, port: int, stack: contextlib.AsyncExitStack, vhost: str) -> None:
        super().__init__(port, stack)
        self._vhost = vhost

    def url_at(self, port: int) -> str:
        return f"rabbit://127.0.0.1:{port}/{self._vhost}"

    async def publish_up(self, host: str, payload: bytes) -> None:
        await asyncio.to_thread(self._publish, f"reachthru.1.agent.{host}.up.info", payload)

    async def publish_news(self, host: str, payload: bytes) -> None:
        await asyncio.to_thread(self._publish, f"reachthru.1.agent.{host}.news.info", payload)

    def _publish(self, key: str, payload: bytes) -> None:
        """As oslo.messaging wraps it."""
        text = payload.decode(errors="surrogateescape")
        body = {"oslo.version": "2.0", "oslo.message": json.dumps({"messages": [text]})}
        url = f"amqp://guest:guest@127.0.0.1:{self.broker_port}/{self._vhost}"
        options = {"confirm_publish": True}
        with kombu.Connection(url, transport_options=options) as connection:
            connection.Producer().publish(body, exchange="amq.topic", routing_key=key)


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([kind]) + digits + body
