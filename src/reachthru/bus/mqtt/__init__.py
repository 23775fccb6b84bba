"""Agents and controllers over an MQTT broker.

    reachthru/1/agent/<host>/up     an agent's work, for one of the controllers
    reachthru/1/agent/<host>/news   an agent's news, for all controllers
    reachthru/1/agent/<host>/down   controllers to one agent
    reachthru/1/agents/down         controllers to all agents
    reachthru/1/controllers         a controller to all controllers

Nothing is retained: what must not be lost is acknowledged end to end. What is sent is QoS 1; what
is only offered is QoS 0, which is half the work for a broker, and which it keeps for nobody.

With MQTT 5 controllers share the agents' work (a shared subscription). A broker keeps what is sent
to an agent for a minute, so that a short break costs nothing; it keeps nothing for a controller,
or a dead one would hold its share of the work. An agent's last will is `AgentOffline(clean=False)`
on its `news` topic, published when the connection broke and the agent was not back in a second.
An agent that hears an older controller, or does not know yet, sends its news as work too: that
is where older controllers look.
With MQTT 3.1.1 there is one controller, nothing is kept, and the last will comes at once.
"""

from functools import partial

from reachthru.bus.base import is_work
from reachthru.bus.doors import BusDoor
from reachthru.bus.inbox import Inbox, decode_news_for, decode_news_from, decode_work_from
from reachthru.bus.mqtt.connection import Connection
from reachthru.bus.mqtt.terms import Terms
from reachthru.bus.remote import RemoteAgentBus, RemoteControllerBus
from reachthru.protocol.agent_bus import (
    NEWS_VERSION,
    AgentMessage,
    AgentOffline,
    ControllerMessage,
    decode_from_controller,
    encode,
)
from reachthru.protocol.controller_bus import ControllerNews

TOPIC_ROOT = "reachthru/1"
ALL_AGENTS_TOPIC = f"{TOPIC_ROOT}/agents/down"
CONTROLLERS_TOPIC = f"{TOPIC_ROOT}/controllers"
AGENT_SESSION_S = 60
SHARE = "reachthru"


class MqttAgentBus(RemoteAgentBus):
    """`url` is mqtt[s]://host[:port]; raises `BusUrlError`, `DoorError` and `ValueError`."""

    def __init__(self, url: str, host: str, door: BusDoor) -> None:
        if not host or set(host) & set("/+#\0"):
            raise ValueError(f"host {host!r}: must be a name without '/', '+' and '#'")
        self._host = host
        self._up_topic = f"{TOPIC_ROOT}/agent/{host}/up"
        self._news_topic = f"{TOPIC_ROOT}/agent/{host}/news"
        self._inbox: Inbox[ControllerMessage] = Inbox()
        self.refused = self._inbox.refused
        terms = Terms(
            identifier=f"reachthru-agent-{host}",
            topics=[f"{TOPIC_ROOT}/agent/{host}/down", ALL_AGENTS_TOPIC],
            shared_topics=[],
            share="",
            session_expiry_s=AGENT_SESSION_S,
            will=(self._news_topic, encode(AgentOffline(host=host, clean=False))),
        )
        self._connection: Connection = Connection(url, door, terms, self._receive, self.refused)
        self._heard: set[bool] = set()  # on this connection: of controllers, whether they are old

    async def send(self, message: AgentMessage) -> None:
        if is_work(message):
            await self._connection.publish(self._up_topic, message)
            return
        await self._connection.publish(self._news_topic, message)
        if True in self._heard or not self._heard:
            await self._connection.publish(self._up_topic, message)

    def offer(self, message: AgentMessage) -> bool:
        topic = self._up_topic if is_work(message) else self._news_topic
        return self._connection.offer(topic, message)

    def _connection_changed(self, connected: bool) -> None:
        self._heard.clear()
        super()._connection_changed(connected)

    def _receive(self, topic: str, payload: bytes) -> None:
        self._inbox.receive(topic, payload, self._decode)

    def _decode(self, payload: bytes) -> ControllerMessage:
        message = decode_from_controller(payload)
        self._heard.add(message.v < NEWS_VERSION)
        return message


class MqttControllerBus(RemoteControllerBus):
    """`name` tells this controller from others at the broker."""

    def __init__(self, url: str, name: str, door: BusDoor) -> None:
        self.name = name
        self._inbox: Inbox[tuple[str, AgentMessage | ControllerNews]] = Inbox()
        self.refused = self._inbox.refused
        terms = Terms(
            identifier=f"reachthru-controller-{name}",
            topics=[f"{TOPIC_ROOT}/agent/+/news", CONTROLLERS_TOPIC],
            shared_topics=[f"{TOPIC_ROOT}/agent/+/up"],
            share=SHARE,
            session_expiry_s=0,
            will=None,
        )
        self._connection: Connection = Connection(url, door, terms, self._receive, self.refused)

    async def send(self, host: str, message: ControllerMessage) -> None:
        await self._connection.publish(f"{TOPIC_ROOT}/agent/{host}/down", message)

    def offer(self, host: str, message: ControllerMessage) -> bool:
        return self._connection.offer(f"{TOPIC_ROOT}/agent/{host}/down", message)

    async def send_to_all(self, message: ControllerMessage) -> None:
        await self._connection.publish(ALL_AGENTS_TOPIC, message)

    def tell_controllers(self, message: ControllerNews) -> bool:
        return self._connection.offer(CONTROLLERS_TOPIC, message)

    def _receive(self, topic: str, payload: bytes) -> None:
        if topic == CONTROLLERS_TOPIC:
            self._inbox.receive(topic, payload, partial(decode_news_for, self.name))
            return
        host, kind = topic.split("/")[3:]  # the subscriptions' `+`, and what follows it
        decode = decode_work_from if kind == "up" else decode_news_from
        self._inbox.receive(topic, payload, partial(decode, host))
