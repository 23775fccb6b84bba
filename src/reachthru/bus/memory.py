"""Agents and controllers in one process: the public twin of a real carrier, for tests.

`memory://name` is a broker that exists as long as somebody is connected to it or has a hold of
`broker(name)`, through which a test cuts it off and heals it. Messages are encoded and decoded
as on a wire, so that only what can be carried arrives. All its users share one event loop.
"""

import weakref
from collections.abc import AsyncIterator
from functools import partial
from typing import Self
from urllib.parse import urlsplit

from reachthru.bus import BusUrlError
from reachthru.bus.base import (
    AgentBus,
    BusRefusedError,
    BusUnavailableError,
    ControllerBus,
    is_work,
)
from reachthru.bus.inbox import (
    PAYLOAD_LIMIT_BYTES,
    Inbox,
    decode_news_for,
    decode_news_from,
    decode_work_from,
)
from reachthru.protocol.agent_bus import (
    AgentMessage,
    AgentOffline,
    BusMessage,
    ControllerMessage,
    decode_from_controller,
    encode,
)
from reachthru.protocol.controller_bus import ControllerNews


class MemoryBroker:
    """Carries payloads between the ends that are connected to it."""

    def __init__(self) -> None:
        self.up = True
        self.agents: list[MemoryAgentBus] = []
        self.controllers: list[MemoryControllerBus] = []
        self._turn = 0

    def cut(self) -> None:
        """Every end loses its connection; controllers get the agents' wills when they return."""
        self.up = False
        for end in (*self.agents, *self.controllers):
            end.on_connection(False)

    def heal(self) -> None:
        self.up = True
        for controller in self.controllers:
            controller.on_connection(True)
        for agent in self.agents:
            self.publish_news(agent.host, encode(AgentOffline(host=agent.host, clean=False)))
            agent.on_connection(True)

    def publish_up(self, host: str, payload: bytes) -> None:
        """Work, as `host`'s agent would; raises `BusUnavailableError` while it is cut.

        Controllers take turns.
        """
        self._refuse_while_cut()
        if not self.controllers:
            return
        self._turn += 1
        controller = self.controllers[self._turn % len(self.controllers)]
        controller.inbox.receive(f"memory:{host}/up", payload, partial(decode_work_from, host))

    def publish_news(self, host: str, payload: bytes) -> None:
        """News, as `host`'s agent would; raises `BusUnavailableError` while it is cut."""
        self._refuse_while_cut()
        for controller in self.controllers:
            controller.inbox.receive(
                f"memory:{host}/news", payload, partial(decode_news_from, host)
            )

    def publish_to_controllers(self, payload: bytes) -> None:
        """As a controller would; raises `BusUnavailableError` while it is cut."""
        self._refuse_while_cut()
        for controller in self.controllers:
            controller.inbox.receive(
                "memory:controllers", payload, partial(decode_news_for, controller.name)
            )

    def publish_down(self, host: str | None, payload: bytes) -> None:
        """As a controller would, to `host` or (None) to all."""
        self._refuse_while_cut()
        for agent in self.agents:
            if host in (None, agent.host):
                agent.inbox.receive("memory:controller", payload, decode_from_controller)

    def kill(self, host: str) -> None:
        """The agent of `host` vanishes without a word; its last will is published."""
        self.agents = [agent for agent in self.agents if agent.host != host]
        if self.up:
            self.publish_news(host, encode(AgentOffline(host=host, clean=False)))

    def kill_controller(self, name: str) -> None:
        """The controller called `name` hears and says nothing more, and does not know why."""
        self.controllers = [end for end in self.controllers if end.name != name]

    def _refuse_while_cut(self) -> None:
        if not self.up:
            raise BusUnavailableError("memory: the broker is cut off")


_brokers: weakref.WeakValueDictionary[str, MemoryBroker] = weakref.WeakValueDictionary()


def broker(name: str) -> MemoryBroker:
    """The broker behind `memory://name`."""
    found = _brokers.get(name)
    if found is None:
        found = _brokers[name] = MemoryBroker()
    return found


def _broker_of(url: str) -> MemoryBroker:
    parts = urlsplit(url)
    if parts.scheme != "memory" or not parts.netloc:
        raise BusUrlError(url)
    return broker(parts.netloc)


def _encode(message: BusMessage) -> bytes:
    """Raises `BusRefusedError` for what no carrier takes."""
    payload = encode(message)
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise BusRefusedError(f"memory: a message of {len(payload)} bytes is too long")
    return payload


class MemoryAgentBus(AgentBus):
    def __init__(self, url: str, host: str) -> None:
        self.host = host
        self.inbox: Inbox[ControllerMessage] = Inbox()
        self.refused = self.inbox.refused
        self._broker = _broker_of(url)

    @property
    def connected(self) -> bool:
        return self._broker.up and self in self._broker.agents

    async def __aenter__(self) -> Self:
        self._broker.agents.append(self)
        if self._broker.up:
            self.on_connection(True)
        return self

    async def __aexit__(self, *error: object) -> None:
        was_connected = self.connected
        if was_connected:
            await self.send(AgentOffline(host=self.host, clean=True))
        self._broker.agents = [agent for agent in self._broker.agents if agent is not self]
        if was_connected:
            self.on_connection(False)
        self.inbox.close()

    async def send(self, message: AgentMessage) -> None:
        self._publish(message)

    def offer(self, message: AgentMessage) -> bool:
        try:
            self._publish(message)
        except BusUnavailableError:
            return False
        return True

    def messages(self) -> AsyncIterator[ControllerMessage]:
        return self.inbox.items()

    def _publish(self, message: AgentMessage) -> None:
        if not self.connected:
            raise BusUnavailableError("memory: not connected")
        publish = self._broker.publish_up if is_work(message) else self._broker.publish_news
        publish(self.host, _encode(message))


class MemoryControllerBus(ControllerBus):
    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.inbox: Inbox[tuple[str, AgentMessage | ControllerNews]] = Inbox()
        self.refused = self.inbox.refused
        self._broker = _broker_of(url)

    @property
    def connected(self) -> bool:
        return self._broker.up and self in self._broker.controllers

    async def __aenter__(self) -> Self:
        self._broker.controllers.append(self)
        if self._broker.up:
            self.on_connection(True)
        return self

    async def __aexit__(self, *error: object) -> None:
        was_connected = self.connected
        self._broker.controllers = [end for end in self._broker.controllers if end is not self]
        if was_connected:
            self.on_connection(False)
        self.inbox.close()

    async def send(self, host: str, message: ControllerMessage) -> None:
        self._publish(host, message)

    def offer(self, host: str, message: ControllerMessage) -> bool:
        try:
            self._publish(host, message)
        except BusUnavailableError:
            return False
        return True

    async def send_to_all(self, message: ControllerMessage) -> None:
        self._publish(None, message)

    def tell_controllers(self, message: ControllerNews) -> bool:
        if not self.connected:
            return False
        self._broker.publish_to_controllers(encode(message))
        return True

    def messages(self) -> AsyncIterator[tuple[str, AgentMessage | ControllerNews]]:
        return self.inbox.items()

    def _publish(self, host: str | None, message: ControllerMessage) -> None:
        if not self.connected:
            raise BusUnavailableError("memory: not connected")
        self._broker.publish_down(host, _encode(message))
