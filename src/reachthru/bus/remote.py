"""What the carriers share whose broker is elsewhere: a connection that is kept, and an inbox."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Generic, Protocol, Self, TypeVar

from reachthru.bus.base import AgentBus, BusUnavailableError, ControllerBus
from reachthru.bus.inbox import Inbox
from reachthru.protocol.agent_bus import AgentMessage, AgentOffline, ControllerMessage
from reachthru.protocol.controller_bus import ControllerNews

GOODBYE_TIMEOUT_S = 0.5

Item = TypeVar("Item")


class KeptConnection(Protocol):
    @property
    def connected(self) -> bool: ...

    def open(self, on_connection: Callable[[bool], None]) -> None:
        """Returns at once; connecting goes on in the background."""

    async def close(self) -> None: ...


class _RemoteEnd(Generic[Item]):
    """Either end of a carrier, which sets the inbox and the connection."""

    on_connection: Callable[[bool], None]
    _inbox: Inbox[Item]
    _connection: KeptConnection

    @property
    def connected(self) -> bool:
        return self._connection.connected

    async def __aenter__(self) -> Self:
        self._connection.open(self._connection_changed)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connection.close()
        self._inbox.close()

    def messages(self) -> AsyncIterator[Item]:
        return self._inbox.items()

    def _connection_changed(self, connected: bool) -> None:
        self.on_connection(connected)


class RemoteAgentBus(_RemoteEnd[ControllerMessage], AgentBus):
    """A carrier sets `_host` as well."""

    _host: str

    async def __aexit__(self, *error: object) -> None:
        with contextlib.suppress(BusUnavailableError, TimeoutError):
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self.send(AgentOffline(host=self._host, clean=True))
        await super().__aexit__(*error)


class RemoteControllerBus(_RemoteEnd[tuple[str, AgentMessage | ControllerNews]], ControllerBus):
    """A carrier sets `name` as well."""
