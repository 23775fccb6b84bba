"""A broker inside the controller, so that a first installation needs no other server.

amqtt carries the messages. It was measured here at about 2,000 QoS-1 messages of 600 bytes a
second, and it leaves some things to whoever owns the sockets, which is why this file accepts
the connections itself: amqtt does not enforce MQTT's keepalive (so a host that froze would never
have its last will published), reads a packet of any size, and keeps writing for a subscriber
that no longer reads.

It runs on the controller's own event loop. With an agent in another process sending 10,000 fault
changes as fast as it could, a 5 ms timer on the controller's loop was late by 0.4 ms at p99 that
way, and by 18 ms with the broker in a thread of its own (the two fight for the interpreter),
which was also a quarter slower.
"""

import asyncio
import contextlib
import logging
import time
from typing import Self

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import NoDataError
from amqtt.session import Session

from reachthru.bus.inbox import PAYLOAD_LIMIT_BYTES
from reachthru.controller_server.listening import BACKLOG, bound_socket

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 1883
ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"

# MQTT's words, of both versions: only what is needed to refuse the one that amqtt can't speak.
CONNECT = b"\x10"
PROTOCOL_NAME = b"\x00\x04MQTT"
SPOKEN_VERSION = 4  # 3.1.1
UNSUPPORTED_VERSION = b"\x20\x03\x00\x84\x00"  # MQTT 5.0, section 3.2: CONNACK

CONNECTIONS_LIMIT = 2_000
CONNECT_TIMEOUT_S = 10.0  # between a TCP connection and its CONNECT
REFUSAL_GRACE_S = 1.0
STALL_LIMIT_S = 10.0  # a subscriber that reads nothing for so long is gone
BACKLOG_LIMIT = 10_000  # messages that wait for one subscriber
SWEEP_INTERVAL_S = 1.0
STOP_TIMEOUT_S = 1.0
COMPLAINT_INTERVAL_S = 10.0

_log = logging.getLogger(__name__)


class _Reader(StreamReaderAdapter):  # type: ignore[misc]
    """Notes when the client was last heard, and refuses what is too long to be a message."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.WriteTransport) -> None:
        super().__init__(reader)
        self._transport = transport
        self._seen = b""  # read ahead, and not given to amqtt yet
        self.heard_at = time.monotonic()

    async def read(self, n: int = -1) -> bytes:
        if n > PAYLOAD_LIMIT_BYTES:
            self._transport.abort()
            raise NoDataError(f"a packet of {n} bytes")
        data, self._seen = self._seen[:n], self._seen[n:]
        if len(data) < n:
            data += await super().read(n - len(data))
        self.heard_at = time.monotonic()
        return data

    async def version(self) -> int | None:
        """The protocol level that a CONNECT asks for, without taking it; None: it is no CONNECT.

        MQTT 3.1.1, section 3.1: a type, a length of one to four bytes, "MQTT", the level.
        """
        self._seen = await super().read(2)
        if self._seen[:1] != CONNECT:
            return None
        while self._seen[-1] & 0x80 and len(self._seen) < 5:
            self._seen += await super().read(1)
        length_digits = len(self._seen)
        self._seen += await super().read(7)
        name, level = self._seen[length_digits:-1], self._seen[-1]
        return level if name == PROTOCOL_NAME else None

    async def end(self) -> None:
        """Until the client has gone, for a moment: who still writes would not read our answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFUSAL_GRACE_S):
                while await self._reader.read(4096):
                    pass


class _Writer(StreamWriterAdapter):  # type: ignore[misc]
    """Counts what amqtt wrote, so that a client that reads nothing can be told from a slow one."""

    written_bytes = 0

    def write(self, data: bytes) -> None:
        self.written_bytes += len(data)
        super().write(data)


class _Connection:
    """One client's sockets, and whether they deserve to live."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transport = writer.transport
        self.reader = _Reader(reader, writer.transport)
        self.writer = _Writer(writer)
        self._opened_at = time.monotonic()
        self._sent_bytes = 0
        self._progress_at = self._opened_at

    def verdict(self, session: Session | None, now: float) -> str | None:
        """Why this connection must end, or None. `session` is None before its CONNECT."""
        if session is None:
            return "it sent no CONNECT" if now - self._opened_at > CONNECT_TIMEOUT_S else None
        # MQTT 3.1.1, section 3.1.2.10: after one and a half keepalive periods of silence
        if 0 < session.keep_alive * 1.5 < now - self.reader.heard_at:
            return f"it was silent for over {session.keep_alive * 1.5:g} s"
        unsent_bytes = self.transport.get_write_buffer_size()
        sent_bytes = self.writer.written_bytes - unsent_bytes
        if unsent_bytes == 0 or sent_bytes != self._sent_bytes:
            self._sent_bytes, self._progress_at = sent_bytes, now
        if now - self._progress_at > STALL_LIMIT_S:
            return f"it read nothing for over {STALL_LIMIT_S:g} s"
        if session.inflight_out_count > BACKLOG_LIMIT:
            return f"over {BACKLOG_LIMIT} messages wait for it"
        return None


class _OneLine(logging.Handler):
    """amqtt logs a traceback for every message that a dead client left: one line in a while."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._quiet_until = 0.0
        self._suppressed = 0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now < self._quiet_until:
            self._suppressed += 1
            return
        self._quiet_until = now + COMPLAINT_INTERVAL_S
        text = " ".join(record.getMessage().split())[:300]
        _log.warning("embedded broker: %s (%d more before it)", text, self._suppressed)
        self._suppressed = 0


def _quieten() -> None:
    logger = logging.getLogger("amqtt")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.handlers = [_OneLine()]
    logging.getLogger("transitions").setLevel(logging.WARNING)


class EmbeddedBroker:
    """amqtt behind our own listener on the loopback interface.

    Use as `async with`; entering raises `OSError` when the port can't be had. Port 0 takes a
    free one; `port` says which.
    """

    def __init__(self, port: int = DEFAULT_PORT) -> None:
        self.port = port
        _quieten()
        self._broker = Broker(
            BrokerConfig(
                listeners={"default": ListenerConfig(type=ListenerType.EXTERNAL)},
                plugins={ANONYMOUS: {"allow_anonymous": True}},
            )
        )
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        listener = bound_socket(LOOPBACK, self.port)
        self.port = listener.getsockname()[1]
        await self._broker.start()
        self._server = await asyncio.start_server(self._accept, sock=listener, backlog=BACKLOG)
        self._sweeper = asyncio.create_task(self._sweep_on(), name="embedded broker")
        _log.info("embedded broker: listening on %s:%d", LOOPBACK, self.port)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._server is None or self._sweeper is None:
            return
        self._sweeper.cancel()
        self._server.close()
        for connection in self._connections:
            connection.transport.abort()
        if self._connections:
            await asyncio.wait(self._connections.values(), timeout=STOP_TIMEOUT_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._broker.shutdown()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS_LIMIT:
            writer.transport.abort()
            return
        connection = _Connection(reader, writer)
        self._connections[connection] = asyncio.create_task(self._carry(connection))

    async def _carry(self, connection: _Connection) -> None:
        """Until the client has gone. Whatever it sent costs its own connection only."""
        try:
            version = await connection.reader.version()
            if version is not None and version > SPOKEN_VERSION:
                connection.writer.write(UNSUPPORTED_VERSION)
                await connection.writer.drain()
                await connection.reader.end()
                return
            await self._broker.external_connected(connection.reader, connection.writer, "default")
        except (EOFError, ConnectionError):
            pass  # it left before it said who it is
        except Exception as error:
            _log.warning("embedded broker: a client's connection failed: %r", error)
        finally:
            del self._connections[connection]
            connection.transport.abort()

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            self._sweep()

    def _sweep(self) -> None:
        sessions = {
            id(handler.writer): session for session, handler in self._broker.sessions.values()
        }
        now = time.monotonic()
        for connection in list(self._connections):
            session = sessions.get(id(connection.writer))
            if why := connection.verdict(session, now):
                name = session.client_id if session else "a client"
                _log.warning("embedded broker: %s is disconnected: %s", name, why)
                connection.transport.abort()
