"""What every carrier offers to agents and controllers.

A carrier connects, reconnects with spaced and jittered tries, and says loudly once when it
lost its broker and once when it is back. It promises that a `send` ends within seconds, and that a
message for which it returned reached the broker; what must not be lost is acknowledged end to end
by the messages themselves (`FaultAck`), so a carrier may repeat a message and never needs to store
one. What is worth nothing when it is late (server-group messages) is offered instead: it goes at
once, or it is lost.

Any number of controllers share a bus. What an agent says is either work, which exactly one of them
gets, or news, which every one of them gets; a message's type decides.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Self

from reachthru.protocol.agent_bus import (
    AgentMessage,
    ControllerMessage,
    FaultBatch,
    FaultChange,
    GroupBroadcast,
    GroupQuery,
)
from reachthru.protocol.controller_bus import ControllerNews

AgentWork = FaultChange | FaultBatch | GroupBroadcast | GroupQuery


def is_work(message: AgentMessage) -> bool:
    """One controller is to get it; otherwise it is news, for every one."""
    return isinstance(message, AgentWork)


class BusUnavailableError(Exception):
    """There is no broker right now; try again when the carrier is connected."""


class BusRefusedError(BusUnavailableError):
    """The broker, or the carrier itself, will not carry this; it was said and counted.

    Trying again is harmless: the broker is asked again only once in a while.
    """


class _Bus(ABC):
    """Use as `async with bus:`; entering returns at once, connecting goes on in the background.

    `on_connection`, set before entering, is called on the event loop with True at each
    connection, and with False at each loss.
    """

    on_connection: Callable[[bool], None] = staticmethod(lambda _connected: None)

    refused: Counter[str]  # messages that were skipped, by reason; for metrics

    @property
    @abstractmethod
    def connected(self) -> bool: ...

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *error: object) -> None: ...


class AgentBus(_Bus):
    """One host agent's end. If its carrier has last wills, its is `AgentOffline(clean=False)`."""

    @abstractmethod
    async def send(self, message: AgentMessage) -> None:
        """Returns when the broker has it, in bounded time.

        Raises `BusUnavailableError`, and `BusRefusedError`, which is one.
        """

    @abstractmethod
    def offer(self, message: AgentMessage) -> bool:
        """Sends at once, in order, without waiting for the broker; False: it could not be."""

    @abstractmethod
    def messages(self) -> AsyncIterator[ControllerMessage]:
        """What controllers send to this host, across reconnections; ends at `__aexit__`."""


class ControllerBus(_Bus):
    """One controller's end. `name` tells it from the others."""

    name: str

    @abstractmethod
    async def send(self, host: str, message: ControllerMessage) -> None:
        """To one agent, as an agent's `send`."""

    @abstractmethod
    def offer(self, host: str, message: ControllerMessage) -> bool:
        """Sends at once, in order, without waiting for the broker; False: it could not be."""

    @abstractmethod
    async def send_to_all(self, message: ControllerMessage) -> None:
        """To every agent that is connected. Raises `BusUnavailableError`."""

    @abstractmethod
    def tell_controllers(self, message: ControllerNews) -> bool:
        """To every other controller, as `offer` does. `message.controller` must be `name`.

        News in another name comes back to whoever told it, too: so a controller hears that the
        broker still carries to it.
        """

    @abstractmethod
    def messages(self) -> AsyncIterator[tuple[str, AgentMessage | ControllerNews]]:
        """(host, message) of agents, and (controller, news) of other controllers.

        Agents' work is shared with the controllers that are connected to the same bus; news comes
        to each. Goes on across reconnections; ends at `__aexit__`. `host` is who the carrier says
        it was, whatever the message claims.
        """
