"""Whether an MQTT broker takes us."""

import secrets

import aiomqtt

from reachthru.bus.base import BusUnavailableError
from reachthru.bus.doors import BusDoor
from reachthru.bus.mqtt import reasons
from reachthru.bus.mqtt.client import Client, VersionRefusedError
from reachthru.bus.mqtt.terms import V5, V311, Address, Terms


async def probe(url: str, door: BusDoor) -> str:
    """Returns the protocol: no broker says in it which one it is.

    Raises `BusUrlError`, `DoorError`, `BusUnavailableError`.
    """
    address = Address.parse(url)
    door.check(tls=address.tls)
    # A name of its own: under an agent's, the broker would end the agent's connection for ours.
    terms = Terms(f"reachthru-doctor-{secrets.token_hex(4)}")
    for version, name in ((V5, "MQTT 5"), (V311, "MQTT 3.1.1")):
        try:
            async with Client(address, door, terms, version, lambda _topic, _payload: None):
                return name
        except VersionRefusedError as error:
            refused = error
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            raise BusUnavailableError(reasons.of_error(error)) from error
    raise BusUnavailableError(reasons.of_error(refused))
