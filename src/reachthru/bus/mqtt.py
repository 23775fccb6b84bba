"""Agents and controllers over an MQTT 3.1.1 broker.

    reachthru/1/agent/<host>/up     an agent's work, for one of the controllers
    reachthru/1/agent/<host>/news   an agent's news, for all controllers
    reachthru/1/agent/<host>/down   controllers to one agent
    reachthru/1/agents/down         controllers to all agents
    reachthru/1/controllers         a controller to all controllers

Nothing is retained: what must not be lost is acknowledged end to end. What is sent is QoS 1; what
is only offered is QoS 0, which is half the work for a broker.
An agent's last will, published by the broker when the connection breaks, is
`AgentOffline(clean=False)` on its `news` topic.
"""

import asyncio
import contextlib
import logging
import math
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt import client as mqtt

from reachthru.bus import BusUrlError
from reachthru.bus.base import AgentBus, BusUnavailableError, ControllerBus, is_work
from reachthru.bus.doors import BusDoor, DoorError
from reachthru.bus.inbox import Inbox, decode_from, decode_news_for, decode_news_from
from reachthru.protocol.agent_bus import (
    AgentMessage,
    AgentOffline,
    BusMessage,
    ControllerMessage,
    decode_from_controller,
    encode,
)
from reachthru.protocol.controller_bus import ControllerNews

TOPIC_ROOT = "reachthru/1"
ALL_AGENTS_TOPIC = f"{TOPIC_ROOT}/agents/down"
CONTROLLERS_TOPIC = f"{TOPIC_ROOT}/controllers"
AT_MOST_ONCE = 0  # MQTT's QoS 0
AT_LEAST_ONCE = 1  # MQTT's QoS 1

CONNECT_TIMEOUT_S = 2.0
CONFIRM_TIMEOUT_S = 3.0
GOODBYE_TIMEOUT_S = 0.5
# The broker declares a silent client dead after one and a half times this.
KEEPALIVE_S = 10
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0
# Enough to keep a broker busy, and little enough for it to hold.
INFLIGHT_LIMIT = 200

_chance = random.SystemRandom()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """`mqtt[s]://host[:port]`, taken apart."""

    hostname: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises `BusUrlError`."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise BusUrlError(url) from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise BusUrlError(url)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise BusUrlError(url)
        tls = parts.scheme == "mqtts"
        return cls(
            hostname=parts.hostname,
            port=port or (8883 if tls else 1883),
            tls=tls,
        )

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.hostname}:{self.port}"


class _Client(aiomqtt.Client):
    """aiomqtt's client, with an end to how long its connecting thread may hang.

    `receive` gets (topic, payload) as soon as it is read: aiomqtt's own iterator makes a task and
    three turns of the event loop of each message.
    """

    def __init__(
        self,
        address: Address,
        door: BusDoor,
        identifier: str,
        will: aiomqtt.Will | None,
        receive: Callable[[str, bytes], None],
    ) -> None:
        class Straight(asyncio.Queue[aiomqtt.Message]):
            def put_nowait(self, message: aiomqtt.Message) -> None:
                payload = message.payload
                receive(str(message.topic), payload if isinstance(payload, bytes) else b"")

        super().__init__(
            address.hostname,
            address.port,
            identifier=identifier,
            username=door.username,
            password=door.password(),
            tls_context=door.tls_context() if address.tls else None,
            will=will,
            clean_session=True,
            timeout=CONNECT_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_inflight_messages=INFLIGHT_LIMIT,
            queue_type=Straight,
            # A fault must not wait 40 ms for the kernel to acknowledge an ack that went before it.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        self.pending_calls_threshold = INFLIGHT_LIMIT

    def offer(self, topic: str, payload: bytes) -> bool:
        """Writes it now. False, if the socket has not even taken what was written before."""
        self._client.loop_write()
        if self._client.want_write():
            return False
        published = self._client.publish(topic, payload, qos=AT_MOST_ONCE)
        self._client.loop_write()
        return published.rc == mqtt.MQTT_ERR_SUCCESS


class _Connection:
    """One end's connection: kept, lost, kept again. `receive` gets (topic, payload)."""

    def __init__(
        self,
        url: str,
        door: BusDoor,
        *,
        identifier: str,
        topics: list[str],
        receive: Callable[[str, bytes], None],
        will: aiomqtt.Will | None = None,
    ) -> None:
        self._address = Address.parse(url)
        self._door = door
        door.check(tls=self._address.tls)
        self._identifier = identifier
        self._topics = topics
        self._receive = receive
        self._will = will
        self._on_connection: Callable[[bool], None] = AgentBus.on_connection
        self._client: _Client | None = None
        self._lost: asyncio.Future[str] | None = None  # why, once it broke
        self._slots = asyncio.Semaphore(INFLIGHT_LIMIT)
        self._keeper: asyncio.Task[None] | None = None
        self._unreachable_since: float | None = None  # None: connected, or not tried yet

    @property
    def connected(self) -> bool:
        return self._client is not None

    def open(self, on_connection: Callable[[bool], None]) -> None:
        self._on_connection = on_connection
        self._keeper = asyncio.create_task(self._keep(), name=f"mqtt {self._identifier}")

    async def close(self) -> None:
        if self._keeper is None:
            return
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper

    async def publish(self, topic: str, message: BusMessage) -> None:
        """Returns when the broker has it; raises `BusUnavailableError` after a few seconds."""
        async with self._slots:
            lost = self._lost
            if self._client is None or lost is None:
                raise BusUnavailableError(f"{self._address}: not connected")
            sending = asyncio.ensure_future(
                self._client.publish(topic, encode(message), qos=AT_LEAST_ONCE, timeout=math.inf)
            )
            try:
                # A confirmation that is due on a connection that broke never comes.
                await asyncio.wait(
                    (sending, lost),
                    timeout=CONFIRM_TIMEOUT_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if sending.done():
                    return sending.result()
                # Whoever else waits need not find out one by one.
                if not lost.done():
                    lost.set_result(f"no confirmation within {CONFIRM_TIMEOUT_S:g} s")
                raise BusUnavailableError(f"{self._address}: {lost.result()}")
            except aiomqtt.MqttError as error:
                raise BusUnavailableError(f"{self._address}: {error}") from error
            finally:
                sending.cancel()

    def offer(self, topic: str, message: BusMessage) -> bool:
        return self._client is not None and self._client.offer(topic, encode(message))

    async def _keep(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while True:
            try:
                async with _Client(
                    self._address, self._door, self._identifier, self._will, self._receive
                ) as client:
                    for topic in self._topics:
                        await client.subscribe(topic, qos=AT_LEAST_ONCE)
                    backoff_s = BACKOFF_MIN_S
                    await self._serve(client)
            except (aiomqtt.MqttError, DoorError, OSError, ValueError) as error:
                self._say_unreachable(error)
            await asyncio.sleep(backoff_s * _chance.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _serve(self, client: _Client) -> None:
        """Until the connection breaks, which raises `MqttError`."""
        self._say_reachable()
        self._client = client
        self._lost = lost = asyncio.get_running_loop().create_future()
        self._on_connection(True)
        reading = asyncio.create_task(self._read(client))
        try:
            await asyncio.wait((reading, lost), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            raise aiomqtt.MqttError(lost.result())
        finally:
            reading.cancel()
            self._client = None
            if not lost.done():
                lost.set_result("the connection broke")
            self._on_connection(False)

    async def _read(self, client: _Client) -> None:
        """Raises `MqttError` when the connection breaks. Messages go straight to `receive`."""
        async for _message in client.messages:
            pass

    def _say_reachable(self) -> None:
        if self._unreachable_since is None:
            _log.info("%s: connected", self._address)
        else:
            away_s = time.monotonic() - self._unreachable_since
            _log.warning("%s: the broker is back after %.1f s", self._address, away_s)
        self._unreachable_since = None

    def _say_unreachable(self, error: Exception) -> None:
        if self._unreachable_since is not None:
            return
        self._unreachable_since = time.monotonic()
        why: object = error.__cause__ or error
        if type(why) is aiomqtt.MqttCodeError:  # its number says nothing more
            why = "the connection broke"
        _log.warning("%s: no broker: %s; trying again until there is", self._address, why)


class MqttAgentBus(AgentBus):
    """`url` is mqtt[s]://host[:port]; raises `BusUrlError`, `DoorError` and `ValueError`."""

    def __init__(self, url: str, host: str, door: BusDoor) -> None:
        if not host or set(host) & set("/+#\0"):
            raise ValueError(f"host {host!r}: must be a name without '/', '+' and '#'")
        self._host = host
        self._up_topic = f"{TOPIC_ROOT}/agent/{host}/up"
        self._news_topic = f"{TOPIC_ROOT}/agent/{host}/news"
        self._inbox: Inbox[ControllerMessage] = Inbox()
        self.refused = self._inbox.refused
        self._connection = _Connection(
            url,
            door,
            identifier=f"reachthru-agent-{host}",
            topics=[f"{TOPIC_ROOT}/agent/{host}/down", ALL_AGENTS_TOPIC],
            receive=lambda topic, payload: self._inbox.receive(
                topic, payload, decode_from_controller
            ),
            will=aiomqtt.Will(
                self._news_topic, encode(AgentOffline(host=host, clean=False)), qos=AT_LEAST_ONCE
            ),
        )

    @property
    def connected(self) -> bool:
        return self._connection.connected

    async def __aenter__(self) -> Self:
        self._connection.open(self.on_connection)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(BusUnavailableError, TimeoutError):
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self.send(AgentOffline(host=self._host, clean=True))
        await self._connection.close()
        self._inbox.close()

    async def send(self, message: AgentMessage) -> None:
        await self._connection.publish(self._topic_of(message), message)

    def offer(self, message: AgentMessage) -> bool:
        return self._connection.offer(self._topic_of(message), message)

    def messages(self) -> AsyncIterator[ControllerMessage]:
        return self._inbox.items()

    def _topic_of(self, message: AgentMessage) -> str:
        return self._up_topic if is_work(message) else self._news_topic


class MqttControllerBus(ControllerBus):
    """`name` tells this controller from others at the broker."""

    def __init__(self, url: str, name: str, door: BusDoor) -> None:
        self.name = name
        self._inbox: Inbox[tuple[str, AgentMessage | ControllerNews]] = Inbox()
        self.refused = self._inbox.refused
        self._connection = _Connection(
            url,
            door,
            identifier=f"reachthru-controller-{name}",
            topics=[
                f"{TOPIC_ROOT}/agent/+/up",
                f"{TOPIC_ROOT}/agent/+/news",
                CONTROLLERS_TOPIC,
            ],
            receive=self._receive,
        )

    @property
    def connected(self) -> bool:
        return self._connection.connected

    async def __aenter__(self) -> Self:
        self._connection.open(self.on_connection)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()
        self._inbox.close()

    async def send(self, host: str, message: ControllerMessage) -> None:
        await self._connection.publish(f"{TOPIC_ROOT}/agent/{host}/down", message)

    def offer(self, host: str, message: ControllerMessage) -> bool:
        return self._connection.offer(f"{TOPIC_ROOT}/agent/{host}/down", message)

    async def send_to_all(self, message: ControllerMessage) -> None:
        await self._connection.publish(ALL_AGENTS_TOPIC, message)

    def tell_controllers(self, message: ControllerNews) -> bool:
        return self._connection.offer(CONTROLLERS_TOPIC, message)

    def messages(self) -> AsyncIterator[tuple[str, AgentMessage | ControllerNews]]:
        return self._inbox.items()

    def _receive(self, topic: str, payload: bytes) -> None:
        if topic == CONTROLLERS_TOPIC:
            self._inbox.receive(topic, payload, partial(decode_news_for, self.name))
            return
        host, kind = topic.split("/")[3:]  # the subscriptions' `+`, and what follows it
        decode = decode_from if kind == "up" else decode_news_from
        self._inbox.receive(topic, payload, partial(decode, host))
