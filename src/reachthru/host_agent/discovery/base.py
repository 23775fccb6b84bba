"""What drivers of discovery know, and whom they tell.

A driver says which instances there are, what the hypervisor thinks of them, and where their
ports are. It never opens a port: that is the agent's, which tells the driver how it went.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from enum import Flag, auto
from typing import Protocol

from reachthru.protocol.codec import Dialect
from reachthru.protocol.faults import Condition

# The ports that are ours (wire contract, section 1); others are nobody's business here.
MUX_PORT, BARE_PORT = "cgcs.messaging", "cgcs.heartbeat"
PORT_DIALECTS = {MUX_PORT: Dialect.MUX, BARE_PORT: Dialect.BARE}


class Service(Flag):
    """What an instance may be asked to be served with."""

    HEARTBEAT = auto()
    MESSAGES = auto()  # between the members of its server group


NO_SERVICE = Service(0)
EVERY_SERVICE = Service.HEARTBEAT | Service.MESSAGES
PORT_SERVICES = {MUX_PORT: EVERY_SERVICE, BARE_PORT: Service.HEARTBEAT}


@dataclass(frozen=True, slots=True)
class Port:
    """A virtio-serial port's end on this host: the UNIX socket that QEMU listens on.

    `opened` is whether the guest has its end open; None where nobody can tell.
    """

    name: str
    path: str
    opened: bool | None = None

    @property
    def dialect(self) -> Dialect:
        return PORT_DIALECTS[self.name]


class Sink(Protocol):
    """The agent, as drivers see it. Called on the event loop; nothing here blocks or raises."""

    def found(self, uuid: str, name: str, condition: Condition, services: Service) -> None:
        """An instance that is to be served, or news of a known one."""

    def noted(self, uuid: str, note: str) -> None:
        """What an operator should know of a known instance; empty: nothing."""

    def port_found(self, uuid: str, port: Port) -> None:
        """The agent connects to it from now on, again and again. Harmless when repeated."""

    def port_lost(self, uuid: str, port_name: str) -> None:
        """It was unplugged, or its file was removed."""

    def port_closed(self, uuid: str, port_name: str, age_s: float = 0.0) -> None:
        """The guest closed its end, so long ago."""

    def port_opened(self, uuid: str, port_name: str) -> None:
        """The guest opened its end."""

    def became(self, uuid: str, condition: Condition, detail: str = "") -> None:
        """The hypervisor says something new."""

    def asked_to_stop(self, uuid: str) -> None:
        """Somebody pressed its power button."""

    def rebooted(self, uuid: str) -> None:
        """The machine was reset, by whomever."""

    def gone(self, uuid: str, detail: str) -> None:
        """QEMU is gone and nobody asked for it. The instance stays known."""

    def left(self, uuid: str, detail: str) -> None:
        """The instance is no longer here, as somebody wanted it."""

    def has_session(self, uuid: str) -> bool:
        """Is a guest of it registered, now or with an earlier host agent?"""

    def synced(self, uuids: Collection[str]) -> None:
        """These are all the instances that there are; others have left unseen."""


class Discovery(ABC):
    """A driver. It is told how its ports fare."""

    @abstractmethod
    async def run(self, sink: Sink) -> None:
        """Until it is cancelled. What it depends on may come and go: said once, retried."""

    @property
    @abstractmethod
    def answers(self) -> bool:
        """False: what it depends on is away."""

    def connected(self, uuid: str, port_name: str) -> None:  # noqa: B027 - not all drivers care
        """The agent is connected to the port's socket."""

    def refused(self, uuid: str, port_name: str, code: int) -> None:  # noqa: B027
        """An attempt to connect failed, with this errno; more will follow."""

    def hung_up(self, uuid: str, port_name: str) -> None:  # noqa: B027
        """The connection ended; the agent connects again at once."""
