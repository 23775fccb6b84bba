"""Agents and controllers over RabbitMQ, through oslo.messaging.

    reachthru.1.agent.<host>.up     an agent's work   queue reachthru.work, which controllers share
    reachthru.1.agent.<host>.news   an agent's news   queue reachthru.news.<name>, each controller's
    reachthru.1.controllers         controllers' news the same
    reachthru.1.agent.<host>.down   to one agent      queue reachthru.agent.<host>
    reachthru.1.agents.down         to all agents     the same
    ....alive                       to nobody: is the broker there?

These are routing keys at the exchange `amq.topic`; `.info` follows each (oslo.messaging's way to
listen). Who may publish with which key is RabbitMQ's to enforce: packaging/rabbitmq shows how. A
message counts as of the host in the key that it was published with, which RabbitMQ hands on.

All queues are quorum queues (`?rabbit_quorum_queue=false` in the URL: classic durable ones), and
every message is confirmed by the broker, and dropped by it when it is too old to matter. RabbitMQ
keeps the queue of an agent or a controller that is gone, without messages, until a policy deletes
it: packaging/rabbitmq has that policy.
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from reachthru.bus.base import AgentBus, BusUnavailableError, ControllerBus, is_work
from reachthru.bus.doors import BusDoor, DoorError
from reachthru.bus.inbox import Inbox, decode_news_for, decode_news_from, decode_work_from
from reachthru.bus.oslo_address import Address
from reachthru.bus.oslo_session import Outgoing, RefusedError, Session, SessionError, Source
from reachthru.protocol.agent_bus import (
    AgentMessage,
    AgentOffline,
    BusMessage,
    ControllerMessage,
    GroupBroadcast,
    GroupDelivery,
    GroupNotification,
    GroupQuery,
    GroupStatus,
    decode_from_controller,
    encode,
)
from reachthru.protocol.controller_bus import ControllerNews
from reachthru.protocol.errors import PeerError

KEY_ROOT = "reachthru.1"
ALL_AGENTS_KEY = f"{KEY_ROOT}.agents.down"
CONTROLLERS_KEY = f"{KEY_ROOT}.controllers"
WORK_QUEUE = "reachthru.work"
KEY_LIMIT_BYTES = 255  # AMQP's

CONFIRM_TIMEOUT_S = 3.0
# A session is opened within the time of two tries at something that does not answer.
OPEN_TIMEOUT_S = 20.0
GOODBYE_TIMEOUT_S = 0.5
CLOSE_TIMEOUT_S = 3.0
# A broker that says nothing for so long is asked whether it is there.
QUIET_S = 2.0
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0

# What nobody took by then is dropped by the broker. Server-group messages are worth nothing late;
# the agent repeats a fault until it is acknowledged, which is seconds.
GROUP_TTL_S = 2.0
TTL_S = 10.0
_GROUP_MESSAGES = GroupBroadcast | GroupQuery | GroupDelivery | GroupStatus | GroupNotification

# A controller talks to many agents at once, and each message waits for its confirmation.
CONTROLLER_LANES = 4

Result = TypeVar("Result")

_chance = random.SystemRandom()
_log = logging.getLogger(__name__)


class _Connection:
    """One end's connection: kept, lost, kept again. `receive` gets (key, payloads)."""

    def __init__(
        self,
        address: Address,
        *,
        alive_key: str,
        sources: list[Source],
        lanes: int,
        receive: Callable[[str, object], None],
    ) -> None:
        self._address = address
        self._alive_key = alive_key
        self._sources = sources
        self._lanes = lanes
        self._receive = receive
        self._on_connection: Callable[[bool], None] = AgentBus.on_connection
        self._session: Session | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Future[None]] = set()
        self._unreachable_since: float | None = None  # None: connected, or not tried yet
        self._complaints: set[str] = set()  # keys that the broker refused

    @property
    def connected(self) -> bool:
        return self._session is not None

    def open(self, on_connection: Callable[[bool], None]) -> None:
        self._on_connection = on_connection
        self._keeper = asyncio.create_task(self._keep(), name=f"rabbit {self._alive_key}")

    async def close(self) -> None:
        """Its threads end now, or are left to themselves: they may wait for a broker."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_TIMEOUT_S)

    async def publish(self, key: str, message: BusMessage, lane: int = 0) -> None:
        """Returns when the broker has it; raises `BusUnavailableError` after a few seconds."""
        session = self._session
        if session is None:
            raise BusUnavailableError(f"{self._address}: not connected")
        await self._confirm(session, _outgoing(key, message), lane)

    def offer(self, key: str, message: BusMessage, lane: int = 0) -> bool:
        return self._session is not None and self._session.put(_outgoing(key, message), lane)

    async def _confirm(self, session: Session, outgoing: Outgoing, lane: int) -> None:
        done = outgoing.done = asyncio.get_running_loop().create_future()
        if not session.put(outgoing, lane):
            raise BusUnavailableError(f"{self._address}: too many messages wait already")
        self._waiting.add(done)
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                await done
        except TimeoutError:
            # Whoever else waits need not find out one by one.
            session.fail(f"no confirmation within {CONFIRM_TIMEOUT_S:g} s: frozen, or an alarm")
            raise BusUnavailableError(f"{self._address}: {session.broken.result()}") from None
        except RefusedError as error:
            self._complain(outgoing.key, error)
            raise BusUnavailableError(f"{self._address}: refused: {error}") from error
        finally:
            self._waiting.discard(done)

    async def _keep(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while True:
            try:
                session = Session(
                    self._address.transport, self._sources, self._lanes, self._receive
                )
                try:
                    await self._open(session)
                    backoff_s = BACKOFF_MIN_S
                    await self._serve(session)
                finally:
                    closing = in_thread(session.close, "rabbit close")
                    self._closing.add(closing)
                    closing.add_done_callback(self._closed)
            except (SessionError, DoorError) as error:
                self._say_unreachable(error)
                self._address.use_next()
            await asyncio.sleep(backoff_s * _chance.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _open(self, session: Session) -> None:
        opening = in_thread(partial(session.open, self._alive_key), "rabbit open")
        done, _ = await asyncio.wait((opening,), timeout=OPEN_TIMEOUT_S)
        if not done:
            raise SessionError(f"not open within {OPEN_TIMEOUT_S:g} s")
        opening.result()

    async def _serve(self, session: Session) -> None:
        """Until the session breaks, which raises `SessionError`."""
        self._say_reachable()
        self._session = session
        self._on_connection(True)
        asking: asyncio.Task[None] | None = None
        try:
            while not session.broken.done():
                await asyncio.wait((session.broken,), timeout=QUIET_S / 2)
                quiet_s = time.monotonic() - session.confirmed_at
                if quiet_s > QUIET_S and (asking is None or asking.done()):
                    asking = asyncio.create_task(self._ask(session))
            raise SessionError(session.broken.result())
        finally:
            self._session = None
            for done in self._waiting:
                if not done.done():
                    done.set_exception(
                        BusUnavailableError(f"{self._address}: the connection broke")
                    )
            self._on_connection(False)

    async def _ask(self, session: Session) -> None:
        with contextlib.suppress(BusUnavailableError):
            await self._confirm(session, Outgoing(self._alive_key, "", ttl_s=1), lane=0)

    def _closed(self, closing: "asyncio.Future[None]") -> None:
        self._closing.discard(closing)
        if not closing.cancelled() and (error := closing.exception()):
            _log.info("%s: while closing a connection: %s", self._address, error)

    def _complain(self, key: str, error: RefusedError) -> None:
        if key not in self._complaints and len(self._complaints) < 1000:
            self._complaints.add(key)
            _log.error("%s: refused: %s; the next ones are not logged", self._address, error)

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
        _log.warning("%s: no broker: %s; trying again until there is", self._address, error)


class OsloAgentBus(AgentBus):
    """`url` is rabbit[s]://host[:port][,host[:port]...][/vhost]; raises `BusUrlError`, `DoorError`,
    `ValueError`.

    RabbitMQ has no last will: of an agent that vanishes, controllers hear nothing more, and no
    `AgentOffline(clean=False)`; that its reports have stopped is how they know.
    """

    def __init__(self, url: str, host: str, door: BusDoor) -> None:
        check_host(host)
        self._host = host
        self._key = f"{KEY_ROOT}.agent.{host}"
        self._inbox: Inbox[ControllerMessage] = Inbox()
        self.refused = self._inbox.refused
        self._connection = _Connection(
            Address.parse(url, door),
            alive_key=f"{self._key}.alive",
            sources=[Source(f"reachthru.agent.{host}", (f"{self._key}.down", ALL_AGENTS_KEY))],
            lanes=1,
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
        with contextlib.suppress(BusUnavailableError, TimeoutError):
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self.send(AgentOffline(host=self._host, clean=True))
        await self._connection.close()
        self._inbox.close()

    async def send(self, message: AgentMessage) -> None:
        await self._connection.publish(self._key_of(message), message)

    def offer(self, message: AgentMessage) -> bool:
        return self._connection.offer(self._key_of(message), message)

    def messages(self) -> AsyncIterator[ControllerMessage]:
        return self._inbox.items()

    def _key_of(self, message: AgentMessage) -> str:
        return f"{self._key}.up" if is_work(message) else f"{self._key}.news"

    def _receive(self, key: str, payloads: object) -> None:
        decode: Callable[[bytes], ControllerMessage] = decode_from_controller
        # RabbitMQ before 4.1 lets whoever may publish anything send copies (CC) to keys that it may
        # not publish with. The copy has the key of the original.
        if key not in (f"{self._key}.down", ALL_AGENTS_KEY):
            decode = partial(_refuse, "it was not published to this agent")
        for payload in _payloads(payloads):
            self._inbox.receive(key, payload, decode)


class OsloControllerBus(ControllerBus):
    """`name` names this controller's own queue at the broker."""

    def __init__(self, url: str, name: str, door: BusDoor) -> None:
        self.name = name
        self._inbox: Inbox[tuple[str, AgentMessage | ControllerNews]] = Inbox()
        self.refused = self._inbox.refused
        self._connection = _Connection(
            Address.parse(url, door),
            alive_key=f"{CONTROLLERS_KEY}.alive",
            sources=[
                Source(WORK_QUEUE, (f"{KEY_ROOT}.agent.#.up",)),
                Source(f"reachthru.news.{name}", (f"{KEY_ROOT}.agent.#.news", CONTROLLERS_KEY)),
            ],
            lanes=CONTROLLER_LANES,
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
        await self._connection.publish(_down_key(host), message, _lane_of(host))

    def offer(self, host: str, message: ControllerMessage) -> bool:
        return self._connection.offer(_down_key(host), message, _lane_of(host))

    async def send_to_all(self, message: ControllerMessage) -> None:
        await self._connection.publish(ALL_AGENTS_KEY, message)

    def tell_controllers(self, message: ControllerNews) -> bool:
        return self._connection.offer(CONTROLLERS_KEY, message)

    def messages(self) -> AsyncIterator[tuple[str, AgentMessage | ControllerNews]]:
        return self._inbox.items()

    def _receive(self, key: str, payloads: object) -> None:
        for payload in _payloads(payloads):
            self._inbox.receive(key, payload, self._decoder(key))

    def _decoder(self, key: str) -> Callable[[bytes], tuple[str, AgentMessage | ControllerNews]]:
        if key == CONTROLLERS_KEY:
            return partial(decode_news_for, self.name)
        middle = key.removeprefix(f"{KEY_ROOT}.agent.")
        host, _, kind = middle.rpartition(".")
        if middle != key and host and kind == "up":
            return partial(decode_work_from, host)
        if middle != key and host and kind == "news":
            return partial(decode_news_from, host)
        return partial(_refuse, "it was not published to controllers")


def check_host(host: str) -> None:
    """Raises `ValueError` for a host that would break a routing key."""
    words = host.split(".")
    if not all(words) or {"*", "#"} & set(words):
        raise ValueError(f"host {host!r}: must be a name without empty parts, '*' and '#'")
    if len(_down_key(host).encode()) > KEY_LIMIT_BYTES - len(".alive.info"):
        raise ValueError(f"host {host[:64]!r}...: is too long a name for RabbitMQ")


def _down_key(host: str) -> str:
    return f"{KEY_ROOT}.agent.{host}.down"


def _lane_of(host: str) -> int:
    return hash(host) % CONTROLLER_LANES


def _outgoing(key: str, message: BusMessage) -> Outgoing:
    ttl_s = GROUP_TTL_S if isinstance(message, _GROUP_MESSAGES) else TTL_S
    return Outgoing(key, encode(message).decode(), ttl_s)


def _payloads(payloads: object) -> list[bytes]:
    """What came, for `Inbox.receive`, which refuses and counts what is no message."""
    if not isinstance(payloads, list):
        return [b""]
    return [
        payload.encode(errors="replace") if isinstance(payload, str) else b""
        for payload in payloads
    ]


def _refuse(why: str, _payload: bytes) -> NoReturn:
    raise PeerError(why)


def in_thread(work: Callable[[], Result], name: str) -> "asyncio.Future[Result]":
    """`work` in a daemon thread of its own: what waits for a broker holds up no exit."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def resolve(result: Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None only with an error

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as failure:
            error = failure
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(resolve, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
