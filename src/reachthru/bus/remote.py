"""What the carriers share whose broker is elsewhere: a connection that is kept, and an inbox."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Protocol, Self

from reachthru.bus.base import AgentBus, BusUnavailableError, ControllerBus
from reachthru.bus.inbox import Inbox
from reachthru.protocol.agent_bus import AgentMessage, AgentOffline, ControllerMessage
from reachthru.protocol.controller_bus import ControllerNews

GOODBYE_TIMEOUT_S = 0.5


class KeptConnection(Protocol):
    @property
    def connected(self) -> bool: ...

    def open(self, on_connection: Callable[[bool], None]) -> None:
        """Returns at once; connecting goes on in the background."""

    async def close(self) -> None: ...


class RemoteAgentBus(AgentBus):
    """A carrier sets these three."""

    _host: str
    _inbox: Inbox[ControllerMessage]
    _connection: KeptConnection

    @property
    def connected(self) -> bool:
        return self._connection.connected

    async def __aenter__(self) -> Self:
        self._connection.open(self._connection_changed)
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

    def messages(self) -> AsyncIterator[ControllerMessage]:
        return self._inbox.items()

    def _connection_changed(self, connected: bool) -> None:
        self.on_connection(connected)


class RemoteControllerBus(ControllerBus):
    """A carrier sets these two, and `name`."""

    _inbox: Inbox[tuple[str, AgentMessage | ControllerNews]]
    _connection: KeptConnection

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

    def messages(self) -> AsyncIterator[tuple[str, AgentMessage | ControllerNews]]:
        return self._inbox.items()
