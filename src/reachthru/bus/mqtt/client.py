"""One connection to an MQTT broker, from its CONNECT to its end."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, cast

import aiomqtt
from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from reachthru.bus.doors import BusDoor
from reachthru.bus.mqtt import reasons
from reachthru.bus.mqtt.terms import (
    AT_LEAST_ONCE,
    PACKET_LIMIT_BYTES,
    V5,
    V311,
    Address,
    Terms,
    properties_of,
)

AT_MOST_ONCE = 0  # MQTT's QoS 0
CONNECT_TIMEOUT_S = 2.0
# The broker declares a silent client dead after one and a half times this; we declare a silent
# broker dead after twice this, or when it does not confirm what is sent.
KEEPALIVE_S = 5
# Enough to keep a broker busy, and little enough for it to hold; it may ask for less.
INFLIGHT_LIMIT = 200


class VersionRefusedError(aiomqtt.MqttError):
    """The broker does not speak the version of MQTT that we asked for."""


class Client(aiomqtt.Client):
    """aiomqtt's client, told apart from it in these ways.

    `receive` gets (topic, payload) as soon as it is read: aiomqtt's own iterator makes a task and
    three turns of the event loop of each message. What the broker says of a message is not thrown
    away. A connection that fails says why, at once. No socket outlives its client.
    """

    def __init__(
        self,
        address: Address,
        door: BusDoor,
        terms: Terms,
        version: aiomqtt.ProtocolVersion,
        receive: Callable[[str, bytes], None],
    ) -> None:
        class Straight(asyncio.Queue[aiomqtt.Message]):
            def put_nowait(self, message: aiomqtt.Message) -> None:
                payload = message.payload
                receive(str(message.topic), payload if isinstance(payload, bytes) else b"")

        self._last_words = _LastWords()
        super().__init__(
            address.hostname,
            address.port,
            identifier=terms.identifier,
            username=door.username,
            password=door.password(),
            tls_context=door.tls_context() if address.tls else None,
            logger=self._last_words.logger,
            will=terms.last_will(version),
            protocol=version,
            clean_session=True if version is V311 else None,
            clean_start=mqtt.MQTT_CLEAN_START_FIRST_ONLY
            if version is V311
            else terms.session_expiry_s == 0,
            properties=terms.connect_properties(version),
            timeout=CONNECT_TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_inflight_messages=INFLIGHT_LIMIT,
            queue_type=Straight,
            # A fault must not wait 40 ms for the kernel to acknowledge an ack that went before it.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        self._terms = terms
        self._confirmations: dict[int, asyncio.Future[ReasonCode]] = {}
        self._abandoned = False
        self._writes_at_once = False
        self._thread_id = threading.get_ident()
        self.reached = False  # somebody is there, whether or not it speaks MQTT
        self.version = version
        self.lost: asyncio.Future[str] = self._loop.create_future()  # why, once it broke
        self.slots = asyncio.Semaphore(INFLIGHT_LIMIT)
        self.packet_limit_bytes = PACKET_LIMIT_BYTES
        self.can_share = version is V5

    async def __aenter__(self) -> Self:
        """Connects and subscribes. Raises `MqttError`, `VersionRefusedError`."""
        try:
            await super().__aenter__()
            await self._subscribe()
        except aiomqtt.MqttCodeError as error:
            why = self.lost.result() if self.lost.done() else reasons.of_error(error)
            self._abandon()
            raise aiomqtt.MqttError(why) from None
        except BaseException:
            self._abandon()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, error, traceback)
        finally:
            self._abandon()

    def fail(self, why: str) -> None:
        """The connection is taken for broken; whoever waits for it hears so now."""
        if not self.lost.done():
            self.lost.set_result(why)
        waiting: list[asyncio.Future[Any]] = [
            *self._confirmations.values(),
            *self._pending_subscribes.values(),
        ]
        for waited in waiting:
            if not waited.done():
                waited.set_exception(aiomqtt.MqttError(why))

    async def confirmed(self, topic: str, payload: bytes) -> ReasonCode:
        """What the broker says of the message, once it has it. Raises `MqttError`."""
        published = self._client.publish(topic, payload, qos=AT_LEAST_ONCE)
        if published.rc != mqtt.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttError(mqtt.error_string(published.rc))
        confirmation = self._confirmations[published.mid] = self._loop.create_future()
        try:
            code: ReasonCode = await confirmation
            return code
        finally:
            self._confirmations.pop(published.mid, None)

    def offer(self, topic: str, payload: bytes) -> bool:
        """Writes it now. False, if the socket has not even taken what was written before."""
        if self._client.want_write():
            self._client.loop_write()
            if self._client.want_write():
                return False
        self._writes_at_once = True
        try:
            published = self._client.publish(topic, payload, qos=AT_MOST_ONCE)
        finally:
            self._writes_at_once = False
        self._client.loop_write()
        self._watch_socket(self._client.socket())  # for what is left
        return published.rc == mqtt.MQTT_ERR_SUCCESS

    def end_session(self) -> None:
        """Says goodbye for good, at once: the broker forgets this client, and its last will."""
        forget = properties_of(PacketTypes.DISCONNECT, SessionExpiryInterval=0)
        self._client.disconnect(properties=forget if self.version is V5 else None)
        self._client.loop_write()

    async def _subscribe(self) -> None:
        share = f"$share/{self._terms.share}/" if self.can_share else ""
        topics = [*self._terms.topics, *(share + topic for topic in self._terms.shared_topics)]
        for topic in topics:
            codes = cast("list[ReasonCode]", await self.subscribe(topic, qos=AT_LEAST_ONCE))
            for code in codes:
                if code.is_failure:
                    words = f"it refuses the subscription to {topic}: {reasons.of_code(code)}"
                    raise aiomqtt.MqttError(words)

    def _abandon(self) -> None:
        self._abandoned = True
        self.fail(reasons.BROKE)
        self._client._sock_close()  # or a CONNACK that comes late would start a life of its own

    # --- What paho calls ---------------------------------------------------------------------

    def _on_connect(
        self,
        client: mqtt.Client,
        userdata: Any,
        flags: mqtt.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if self._connected.done():
            return
        if reason_code.is_failure:
            error = VersionRefusedError if _is_of_version(reason_code) else aiomqtt.MqttError
            self._refuse_connection(error(reasons.of_code(reason_code)))
            return
        self._disconnected.add_done_callback(self._note_end)
        inflight = getattr(properties, "ReceiveMaximum", INFLIGHT_LIMIT)
        self.slots = asyncio.Semaphore(min(inflight, INFLIGHT_LIMIT))
        packet_limit_bytes = getattr(properties, "MaximumPacketSize", PACKET_LIMIT_BYTES)
        self.packet_limit_bytes = min(packet_limit_bytes, PACKET_LIMIT_BYTES)
        self.can_share &= getattr(properties, "SharedSubscriptionAvailable", 1) == 1
        self._connected.set_result(None)

    def _on_disconnect(
        self,
        client: mqtt.Client,
        userdata: Any,
        flags: mqtt.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        why = self._last_words.text or reasons.BROKE
        if flags.is_disconnect_packet_from_server:
            why = reasons.of_code(reason_code)
        if not self._connected.done():
            self._refuse_connection(aiomqtt.MqttError(why))
            return
        self.fail(why)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_publish(
        self,
        client: mqtt.Client,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        confirmation = self._confirmations.get(mid)
        if confirmation is not None and not confirmation.done():
            confirmation.set_result(reason_code)

    def _on_socket_open(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        if self._abandoned:  # while a thread was still connecting it
            sock.close()
            return
        self.reached = True
        super()._on_socket_open(client, userdata, sock)

    def _on_socket_register_write(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        """aiomqtt always puts this off: by then the socket may be written to, or closed, and the
        loop would spin on it. Only the thread that connects has to put it off."""
        if self._writes_at_once:  # for nothing: two system calls and the loop's own work
            return
        if threading.get_ident() == self._thread_id:
            self._watch_socket(sock)
        else:
            self._loop.call_soon_threadsafe(self._watch_socket, sock)

    def _watch_socket(self, sock: Any) -> None:
        current = self._client.socket()
        if current is not None and current is sock and self._client.want_write():
            self._loop.add_writer(current.fileno(), self._write)

    def _write(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:  # of paho or the system: the connection is of no more use
            self.fail(reasons.of_error(error))

    def _refuse_connection(self, error: aiomqtt.MqttError) -> None:
        self._connected.set_exception(error)
        self._connected.exception()  # its reader may have given up: that is no news to asyncio

    def _note_end(self, disconnected: "asyncio.Future[None]") -> None:
        """A packet that paho can't read ends the connection without `_on_disconnect`."""
        error = None if disconnected.cancelled() else disconnected.exception()
        self.fail(reasons.BROKE if error is None else reasons.of_error(error))


class _LastWords(logging.Handler):
    """Keeps paho's last complaint, which is the only place where it says why a socket failed."""

    text = ""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.logger = logging.Logger("mqtt", logging.ERROR)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.text = reasons.of_text(record.getMessage())


def _is_of_version(code: ReasonCode) -> bool:
    return int(code.value) == reasons.UNSUPPORTED_VERSION
