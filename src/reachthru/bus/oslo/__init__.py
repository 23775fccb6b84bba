"""Agents and controllers over RabbitMQ, through oslo.messaging.

    reachthru.1.agent.<host>.up     an agent's work      queue reachthru.work, controllers share it
    reachthru.1.agent.<host>.group  its group messages   queue reachthru.group, they share it, too
    reachthru.1.agent.<host>.news   an agent's news      queue reachthru.news.<name>, of each one
    reachthru.1.controllers         controllers' news    the same
    reachthru.1.agent.<host>.down   to one agent         queue reachthru.agent.<host>
    reachthru.1.agents.down         to all agents        the same
    ....alive                       to nobody            is the broker there?
    reachthru.1.agent.up            no message at all    does the queue of the work take any?

These are routing keys at the exchange `amq.topic`; `.info` follows each (oslo.messaging's way to
listen). Who may publish with which key is RabbitMQ's to enforce: packaging/rabbitmq shows how. A
message counts as of the host in the key that it was published with, which RabbitMQ hands on.

The work is in a quorum queue (or a classic one: `?rabbit_quorum_queue=false` in the URL), which
hands on what is on the disk. Group messages are worth nothing late, and so are in a classic one, as
soon as a controller says that it listens there. What has one listener is in a classic, durable
queue: a confirmation waits for every queue that the message goes to, and one of an agent or a
controller that is gone must hold up nobody. A queue of the work that takes nothing for long is
deleted by a controller, and made anew: agents repeat what was in it.

Every message is confirmed by the broker, and dropped by it when it is too old to matter. RabbitMQ
keeps the queue of an agent or a controller that is gone, without messages, until a policy deletes
it: packaging/rabbitmq has that policy.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from msgspec.structs import replace

from reachthru.bus.base import is_work
from reachthru.bus.doors import BusDoor
from reachthru.bus.inbox import (
    Inbox,
    decode_group_from,
    decode_news_for,
    decode_news_from,
    decode_work_from,
)
from reachthru.bus.oslo.address import Address
from reachthru.bus.oslo.connection import Connection
from reachthru.bus.oslo.group_way import GroupWay
from reachthru.bus.oslo.session import Outgoing, Source
from reachthru.bus.remote import RemoteAgentBus, RemoteControllerBus
from reachthru.protocol.agent_bus import (
    AgentMessage,
    BusMessage,
    ControllerMessage,
    GroupAck,
    GroupBroadcast,
    GroupDelivery,
    GroupNotification,
    GroupQuery,
    GroupStatus,
    decode_from_controller,
    encode,
)
from reachthru.protocol.controller_bus import ControllerNews
from reachthru.protocol.errors import GarbledError

KEY_ROOT = "reachthru.1"
ALL_AGENTS_KEY = f"{KEY_ROOT}.agents.down"
CONTROLLERS_KEY = f"{KEY_ROOT}.controllers"
WORK_QUEUE = "reachthru.work"
GROUP_QUEUE = "reachthru.group"
WORK_ALIVE_KEY = f"{KEY_ROOT}.agent.up"  # of an agent without a name, which nobody is
KEY_LIMIT_BYTES = 255  # AMQP's


# What nobody took by then is dropped by the broker. Server-group messages are worth nothing late;
# the agent repeats a fault until it is acknowledged, which is seconds.
GROUP_TTL_S = 2.0
TTL_S = 10.0
_GROUP_MESSAGES = GroupBroadcast | GroupQuery | GroupDelivery | GroupStatus | GroupNotification

# A controller talks to many agents at once, and each message waits for its confirmation.
CONTROLLER_LANES = 4


class OsloAgentBus(RemoteAgentBus):
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
        self._group_way = GroupWay()
        self.refused = self._inbox.refused
        self._connection: Connection = Connection(
            Address.parse(url, door),
            alive_key=f"{self._key}.alive",
            sources=[Source(f"reachthru.agent.{host}", (f"{self._key}.down", ALL_AGENTS_KEY))],
            lanes=1,
            receive=self._receive,
            refused=self.refused,
        )

    async def send(self, message: AgentMessage) -> None:
        await self._connection.publish(_outgoing(self._key_of(message), message))

    def offer(self, message: AgentMessage) -> bool:
        return self._connection.offer(_outgoing(self._key_of(message), message))

    def _key_of(self, message: AgentMessage) -> str:
        if isinstance(message, GroupBroadcast | GroupQuery):
            key = f"{self._key}.group"
            own_queue = self._group_way.ask(time.monotonic())
            return key if own_queue and not self._connection.is_refused(key) else f"{self._key}.up"
        return f"{self._key}.up" if is_work(message) else f"{self._key}.news"

    def _receive(self, key: str, payloads: object) -> None:
        decode: Callable[[bytes], ControllerMessage] = self._decode
        # RabbitMQ 3 lets whoever may publish at all send copies (CC) to keys that it may
        # not publish with. The copy has the key of the original.
        if key not in (f"{self._key}.down", ALL_AGENTS_KEY):
            decode = partial(_refuse, "it was not published to this agent")
        for payload in _payloads(payloads):
            self._inbox.receive(key, payload, decode)

    def _decode(self, payload: bytes) -> ControllerMessage:
        message = decode_from_controller(payload)
        if isinstance(message, GroupAck):
            self._group_way.answered(own_queue=message.own_queue)
        elif isinstance(message, GroupStatus):
            self._group_way.answered()
        return message


class OsloControllerBus(RemoteControllerBus):
    """`name` names this controller's own queue at the broker."""

    def __init__(self, url: str, name: str, door: BusDoor) -> None:
        self.name = name
        self._inbox: Inbox[tuple[str, AgentMessage | ControllerNews]] = Inbox()
        self.refused = self._inbox.refused
        self._connection: Connection = Connection(
            Address.parse(url, door),
            alive_key=f"{CONTROLLERS_KEY}.alive",
            sources=[
                Source(WORK_QUEUE, (f"{KEY_ROOT}.agent.#.up",), WORK_ALIVE_KEY),
                Source(GROUP_QUEUE, (f"{KEY_ROOT}.agent.#.group",), spare=True),
                Source(f"reachthru.news.{name}", (f"{KEY_ROOT}.agent.#.news", CONTROLLERS_KEY)),
            ],
            lanes=CONTROLLER_LANES,
            receive=self._receive,
            refused=self.refused,
        )

    async def send(self, host: str, message: ControllerMessage) -> None:
        await self._connection.publish(_outgoing(_down_key(host), message), _lane_of(host))

    def offer(self, host: str, message: ControllerMessage) -> bool:
        if isinstance(message, GroupAck):
            message = replace(message, own_queue=self._connection.hears(GROUP_QUEUE))
        return self._connection.offer(_outgoing(_down_key(host), message), _lane_of(host))

    async def send_to_all(self, message: ControllerMessage) -> None:
        await self._connection.publish(_outgoing(ALL_AGENTS_KEY, message))

    def tell_controllers(self, message: ControllerNews) -> bool:
        return self._connection.offer(_outgoing(CONTROLLERS_KEY, message))

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
        if middle != key and host and kind == "group":
            return partial(decode_group_from, host)
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
    raise GarbledError(why)
