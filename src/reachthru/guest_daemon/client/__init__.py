"""What a Python application of this VM uses to talk to its guest daemon.

::

    from reachthru.guest_daemon.client import Broadcast, Client

    with Client() as client:
        client.register("billing", interval_ms=1000)   # part of the VM's health from now on
        client.beat()
        client.broadcast("hello")                      # to every other VM of the server group
        for member in client.members().all:            # all of them, this one too
            print(member["display_name"], member["state"])
        client.listen()
        for event in client.events(timeout_s=10):
            if isinstance(event, Broadcast):
                print(event.source_instance, event.data)

`AsyncClient` is the same for asyncio. Errors are `DoorError`s, `NoDaemonError` among them.
"""

from typing import TYPE_CHECKING, Any

from reachthru.guest_daemon.client.blocking import Client
from reachthru.guest_daemon.client.conversation import (
    Broadcast,
    Dropped,
    Event,
    Members,
    Notification,
    Refused,
)
from reachthru.guest_daemon.errors import DoorError, NoDaemonError

if TYPE_CHECKING:
    from reachthru.guest_daemon.client.asynchronous import AsyncClient

__all__ = [
    "AsyncClient",
    "Broadcast",
    "Client",
    "DoorError",
    "Dropped",
    "Event",
    "Members",
    "NoDaemonError",
    "Notification",
    "Refused",
]


def __getattr__(name: str) -> Any:
    """Only who uses `AsyncClient` has asyncio in memory."""
    if name == "AsyncClient":
        from reachthru.guest_daemon.client.asynchronous import AsyncClient

        return AsyncClient
    raise AttributeError(name)
