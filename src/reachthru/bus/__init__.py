"""Carriage between host agents and controllers: one base, one file a carrier."""

from urllib.parse import urlsplit

from reachthru.bus.base import AgentBus, BusUnavailableError, ControllerBus

__all__ = [
    "AgentBus",
    "BusUnavailableError",
    "BusUrlError",
    "ControllerBus",
    "agent_bus",
    "controller_bus",
]


class BusUrlError(ValueError):
    """A `[bus] url` that names no carrier; `str(error)` says what is allowed."""

    def __init__(self, url: str) -> None:
        scheme, slashes, rest = url.partition("://")
        shown = f"{scheme}{slashes}{rest.rpartition('@')[2]}"  # without a password
        super().__init__(
            f"{shown!r}: a bus is mqtt://host[:port], mqtts://host[:port] or memory://name"
        )


def agent_bus(url: str, host: str) -> AgentBus:
    """The carrier that `url` names, for the agent of compute node `host`."""
    match urlsplit(url).scheme:
        case "mqtt" | "mqtts":
            from reachthru.bus.mqtt import MqttAgentBus

            return MqttAgentBus(url, host)
        case "memory":
            from reachthru.bus.memory import MemoryAgentBus

            return MemoryAgentBus(url, host)
    raise BusUrlError(url)


def controller_bus(url: str, name: str) -> ControllerBus:
    """The carrier that `url` names, for the controller called `name`."""
    match urlsplit(url).scheme:
        case "mqtt" | "mqtts":
            from reachthru.bus.mqtt import MqttControllerBus

            return MqttControllerBus(url, name)
        case "memory":
            from reachthru.bus.memory import MemoryControllerBus

            return MemoryControllerBus(url, name)
    raise BusUrlError(url)
