"""One MQTT message (QoS 1) a fault change, with the same object as GET /v1/faults gives.

Its topic is `[sink_mqtt] topic`, then the instance's uuid, or the host's name for a fault of a
host: who cares for some instances only subscribes to those. Nothing is retained: what is active now
is asked of REST.
"""

import os
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

from msgspec import Struct
from oslo_config import cfg

from reachthru.bus import BusDoor, BusUrlError, DoorError
from reachthru.bus import settings as bus_settings
from reachthru.bus.mqtt.connection import Connection
from reachthru.bus.mqtt.terms import Terms
from reachthru.controller_server.model import Fault, lane_of
from reachthru.controller_server.sinks.base import Sink
from reachthru.secret_files import shown_url
from reachthru.service import SettingsError


class MqttSettings(Struct, frozen=True, kw_only=True):
    """Faults are published on `topic`/<instance's uuid or host's name>."""

    url: str
    door: BusDoor
    topic: str


class MqttSink(Sink):
    """Raises `BusUrlError`, `DoorError`."""

    name: ClassVar[str] = "mqtt"
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = [
        *bus_settings.options("", "The broker to publish faults at: mqtt[s]://host[:port]."),
        cfg.StrOpt(
            "topic",
            default="reachthru/1/faults",
            help="Published on this topic, a slash, and the instance's (or the host's) id.",
        ),
    ]
    concurrency = 50

    @classmethod
    def configured(cls, path: Path, conf: cfg.ConfigOpts) -> Self:
        section = conf.sink_mqtt
        if urlsplit(section.url).scheme not in ("mqtt", "mqtts"):
            raise SettingsError(
                f"{path}: [sink_mqtt] url = {shown_url(section.url)}: must be "
                "mqtt[s]://host[:port], since [sinks] enabled has mqtt"
            )
        topic = section.topic.strip("/")
        if not topic or set(topic) & set("+#\0"):
            raise SettingsError(
                f"{path}: [sink_mqtt] topic = {topic}: must be a name without '+' and '#'"
            )
        door = bus_settings.door(section)
        try:
            return cls(MqttSettings(url=section.url, door=door, topic=topic))
        except (BusUrlError, DoorError) as error:
            raise SettingsError(f"{path}: [sink_mqtt] {error}") from error

    def __init__(self, settings: MqttSettings) -> None:
        self._topic = settings.topic
        terms = Terms(f"reachthru-faults-{socket.gethostname()}-{os.getpid()}")
        self._connection = Connection(
            settings.url,
            settings.door,
            terms,
            receive=lambda _topic, _payload: None,
            refused=Counter(),
        )

    async def __aenter__(self) -> Self:
        self._connection.open(lambda _connected: None)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connection.close()

    async def deliver(self, fault: Fault) -> None:
        """Returns when the broker has it."""
        await self._connection.publish(f"{self._topic}/{lane_of(fault)}", fault)
