"""Carriage between host agents and controllers: one base, one file a carrier."""

import importlib.util
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from reachthru.bus.base import AgentBus, BusRefusedError, BusUnavailableError, ControllerBus
from reachthru.bus.doors import BusDoor, DoorError

if TYPE_CHECKING:
    from reachthru.bus.oslo.notifier import TopicNotifier

__all__ = [
    "AgentBus",
    "BusDoor",
    "BusRefusedError",
    "BusUnavailableError",
    "BusUrlError",
    "ControllerBus",
    "DoorError",
    "agent_bus",
    "controller_bus",
    "topic_notifier",
]


OPEN = BusDoor()


class BusUrlError(ValueError):
    """A `[bus] url` that names no carrier; `str(error)` says what is allowed."""

    def __init__(self, url: str, why: str | None = None) -> None:
        scheme, slashes, rest = url.partition("://")
        shown = f"{scheme}{slashes}{rest.rpartition('@')[2]}"  # without a password
        allowed = (
            "a bus is mqtt://host[:port], rabbit://host[:port][/vhost], or either with an s before"
            " its colon for TLS, or memory://name"
        )
        super().__init__(f"{shown!r}: {why or allowed}")


def agent_bus(url: str, host: str, door: BusDoor = OPEN) -> AgentBus:
    """The carrier that `url` names, for the agent of compute node `host`.

    Raises `BusUrlError`, `DoorError`.
    """
    url, door = without_login(url, door)
    match urlsplit(url).scheme:
        case "mqtt" | "mqtts":
            from reachthru.bus.mqtt import MqttAgentBus

            return MqttAgentBus(url, host, door)
        case "rabbit" | "rabbits":
            need_oslo_messaging(url)
            from reachthru.bus.oslo import OsloAgentBus

            return OsloAgentBus(url, host, door)
        case "memory":
            from reachthru.bus.memory import MemoryAgentBus

            return MemoryAgentBus(url, host)
    raise BusUrlError(url)


def controller_bus(url: str, name: str, door: BusDoor = OPEN) -> ControllerBus:
    """The carrier that `url` names, for the controller called `name`.

    Raises `BusUrlError`, `DoorError`.
    """
    url, door = without_login(url, door)
    match urlsplit(url).scheme:
        case "mqtt" | "mqtts":
            from reachthru.bus.mqtt import MqttControllerBus

            return MqttControllerBus(url, name, door)
        case "rabbit" | "rabbits":
            need_oslo_messaging(url)
            from reachthru.bus.oslo import OsloControllerBus

            return OsloControllerBus(url, name, door)
        case "memory":
            from reachthru.bus.memory import MemoryControllerBus

            return MemoryControllerBus(url, name)
    raise BusUrlError(url)


def topic_notifier(
    url: str, *, exchange: str, topic: str, publisher: str, door: BusDoor
) -> "TopicNotifier":
    """What tells another service's `topic`; raises `BusUrlError`, `DoorError`.

    What its exchange and queue are like if not as oslo.messaging has them by default, is in the
    URL: `?amqp_durable_queues=true`.
    """
    url, door = without_login(url, door)
    if urlsplit(url).scheme not in ("rabbit", "rabbits"):
        raise BusUrlError(url, "must be rabbit[s]://host[:port][/vhost]")
    need_oslo_messaging(url)
    from reachthru.bus.oslo.address import Address
    from reachthru.bus.oslo.notifier import TopicNotifier

    address = Address.parse(url, door, exchange=exchange, durable=False)
    return TopicNotifier(address, topic, publisher)


def need_oslo_messaging(url: str) -> None:
    if importlib.util.find_spec("oslo_messaging") is None:
        raise BusUrlError(
            url,
            "needs Python packages that are not installed: pip install 'reachthru[openstack]'",
        )


def without_login(url: str, door: BusDoor) -> tuple[str, BusDoor]:
    """The URL as it may be shown, and the door with the user and the password that it had.

    A cluster's URL may have them with each of its hosts; the first is for all. Raises `DoorError`.
    """
    parts = urlsplit(url)
    logins, hosts = [], []
    for address in parts.netloc.split(","):
        login, _at, host = address.rpartition("@")
        logins.append(login)
        hosts.append(host)
    if not any(logins):
        return url, door
    username, _colon, password = next(login for login in logins if login).partition(":")
    door = door.with_login(unquote(username), unquote(password))
    return urlunsplit(parts._replace(netloc=",".join(hosts))), door
