"""One MQTT message (QoS 1) a fault change, with the same object as GET /v1/faults gives.

Its topic is `[sink_mqtt] topic`, then the instance's uuid, or the host's name for a fault of a
host: who cares for some instances only subscribes to those. Nothing is retained: what is active now
is asked of REST.
"""

import os
import socket
from collections import Counter
from types import TracebackType
from typing import ClassVar, Self

from reachthru.bus.mqtt.connection import Connection
from reachthru.bus.mqtt.terms import Terms
from reachthru.controller_server.model import Fault, lane_of
from reachthru.controller_server.settings import MqttSettings
from reachthru.controller_server.sinks.base import Sink


class MqttSink(Sink):
    """Raises `BusUrlError`, `DoorError`."""

    name: ClassVar[str] = "mqtt"
    concurrency = 50

    def __init__(self, settings: MqttSettings) -> None:
        self._topic = settings.topic
        terms = Terms(
            identifier=f"reachthru-faults-{socket.gethostname()}-{os.getpid()}",
            topics=[],
            shared_topics=[],
            share="",
            session_expiry_s=0,
            will=None,
        )
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def deliver(self, fault: Fault) -> None:
        """Returns when the broker has it."""
        await self._connection.publish(f"{self._topic}/{lane_of(fault)}", fault)
