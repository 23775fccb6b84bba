"""Whether a broker takes us, tried once, under a name that is nobody's."""

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

from reachthru.bus import BusDoor, BusUrlError, need_oslo_messaging, without_login
from reachthru.bus.base import BusUnavailableError

TIMEOUT_S = 6.0
_TLS_PORTS = {"mqtts": 8883, "rabbits": 5671}


async def probe(url: str, door: BusDoor) -> str:
    """Returns what the broker that `url` names is, as far as it says, once it let us in.

    Raises `BusUrlError`, `DoorError`, and `BusUnavailableError` with the reason.
    """
    url, door = without_login(url, door)
    match urlsplit(url).scheme:
        case "mqtt" | "mqtts":
            from reachthru.bus.mqtt.probe import probe as probe_broker
        case "rabbit" | "rabbits":
            need_oslo_messaging(url)
            from reachthru.bus.oslo.probe import probe as probe_broker
        case "memory":
            return "in memory"
        case _:
            raise BusUrlError(url)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await probe_broker(url, door)
    except TimeoutError as error:
        raise BusUnavailableError("it does not answer") from error


def certificate_of(url: str, door: BusDoor) -> dict[str, Any] | None:
    """What the (first) broker shows, as `ssl.SSLSocket.getpeercert` has it; None without TLS.

    It blocks. Raises `DoorError`, and `OSError` where there is no conversation.
    """
    url, door = without_login(url, door)
    parts = urlsplit(url)
    if parts.scheme not in _TLS_PORTS:
        return None
    first = urlsplit(f"//{parts.netloc.partition(',')[0]}")
    host, port = first.hostname or "", first.port or _TLS_PORTS[parts.scheme]
    with (
        socket.create_connection((host, port), TIMEOUT_S) as plain,
        door.tls_context().wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        return dict(encrypted.getpeercert() or {})
