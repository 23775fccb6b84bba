"""What one end wants of a broker, whichever connection it has."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from reachthru.bus import BusUrlError
from reachthru.bus.inbox import PAYLOAD_LIMIT_BYTES

AT_LEAST_ONCE = 1  # MQTT's QoS 1

V5 = aiomqtt.ProtocolVersion.V5
V311 = aiomqtt.ProtocolVersion.V311

# An agent that is back within this was never away.
WILL_DELAY_S = 1
# A payload, its topic, and what MQTT puts around them.
PACKET_LIMIT_BYTES = PAYLOAD_LIMIT_BYTES + 64 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """`mqtt[s]://host[:port]`, taken apart."""

    hostname: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises `BusUrlError`."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise BusUrlError(url) from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise BusUrlError(url)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise BusUrlError(url)
        tls = parts.scheme == "mqtts"
        return cls(hostname=parts.hostname, port=port or (8883 if tls else 1883), tls=tls)

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.hostname}:{self.port}"


@dataclass(frozen=True, slots=True)
class Terms:
    """Topics may have wildcards; who only publishes needs no more than a name.

    `shared_topics` are shared with the others of `share`, where the broker can do that.
    With `session_expiry_s` 0 the broker forgets a client the moment that it is gone.
    """

    identifier: str
    topics: Sequence[str] = ()
    shared_topics: Sequence[str] = ()
    share: str = ""
    session_expiry_s: int = 0
    will: tuple[str, bytes] | None = None  # topic, payload

    def last_will(self, version: aiomqtt.ProtocolVersion) -> aiomqtt.Will | None:
        if self.will is None:
            return None
        topic, payload = self.will
        delay = properties_of(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
        return aiomqtt.Will(
            topic, payload, qos=AT_LEAST_ONCE, properties=delay if version is V5 else None
        )

    def connect_properties(self, version: aiomqtt.ProtocolVersion) -> Properties | None:
        if version is not V5:
            return None
        return properties_of(
            PacketTypes.CONNECT,
            SessionExpiryInterval=self.session_expiry_s,
            MaximumPacketSize=PACKET_LIMIT_BYTES,
        )


def properties_of(kind: int, **values: int) -> Properties:
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
