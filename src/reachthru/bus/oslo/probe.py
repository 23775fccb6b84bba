"""Whether RabbitMQ takes us: py-amqp alone, since oslo.messaging tries again without end."""

import asyncio
import ssl
from typing import Any

import amqp

from reachthru.bus.base import BusUnavailableError
from reachthru.bus.doors import BusDoor
from reachthru.bus.oslo import reasons
from reachthru.bus.oslo.address import Address

TIMEOUT_S = 3.0


async def probe(url: str, door: BusDoor) -> str:
    """Returns the broker's name and version. Of a cluster, one broker is enough.

    Raises `BusUrlError`, `DoorError`, `BusUnavailableError`.
    """
    address = Address.parse(url, door)
    why = ""
    for host, port in address.brokers:
        try:
            return await asyncio.to_thread(
                _connect, host, port, address.virtual_host, door, address.tls
            )
        except (amqp.exceptions.AMQPError, OSError) as error:
            why = reasons.of_error(error)
    raise BusUnavailableError(why)


def _connect(host: str, port: int, virtual_host: str, door: BusDoor, tls: bool) -> str:
    options: dict[str, Any] = {}
    if tls:
        options["ssl"] = {
            "ca_certs": str(door.ca_file),
            "certfile": None if door.cert_file is None else str(door.cert_file),
            "keyfile": None if door.key_file is None else str(door.key_file),
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": host,
        }
        if door.username is None and door.cert_file is not None:
            options["login_method"] = "EXTERNAL"
    connection = amqp.Connection(
        host=f"{host}:{port}",
        userid=door.username or "guest",
        password=door.password() or "guest",
        virtual_host=virtual_host,
        connect_timeout=TIMEOUT_S,
        read_timeout=TIMEOUT_S,
        write_timeout=TIMEOUT_S,
        **options,
    )
    try:
        connection.connect()
    except BaseException:
        connection.collect()
        raise
    about = connection.server_properties
    connection.close()
    return f"{about.get('product', 'AMQP')} {about.get('version', '')}".strip()
