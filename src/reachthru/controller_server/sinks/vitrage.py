"""Vitrage, whose datasource of ours makes alarms of faults (openstack_plugins/vitrage).

It is told over its own RabbitMQ, or over its event API, which puts the same there. That API says
200 even where it failed to; what was lost is told again with the next reconciliation, and a
clearing that was lost is found by the datasource's next snapshot.
"""

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import msgspec
from oslo_config import cfg

from reachthru.bus import BusUnavailableError, BusUrlError, DoorError, topic_notifier
from reachthru.bus import settings as bus_settings
from reachthru.certificates import CertificateError
from reachthru.controller_server import keystone_session
from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks.base import NotNowError, Sink
from reachthru.controller_server.sinks.http import ServiceClient
from reachthru.service import SettingsError

SECTION = "sink_vitrage"
EVENT_TYPE = "reachthru.fault"  # what the datasource listens for
EXCHANGE = "vitrage"
TOPIC = "vitrage_notifications"
SERVICE_TYPE = "rca"  # Vitrage's name in Keystone's catalog
TIMEOUT_S = 5
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%f"  # Vitrage's, in UTC; it insists on the fraction
# Who we are, what we may, and 404: Vitrage says so where its graph does not answer it in time.
_PATIENCE = frozenset({401, 403, 404})

_OWN_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "via",
        default="bus",
        choices=["bus", "event_api"],
        help="Over Vitrage's RabbitMQ, or its event API.",
    ),
    # via = bus: Vitrage's RabbitMQ, with the locks as in [bus]. What Vitrage's settings say of its
    # queues goes behind a question mark: ?amqp_durable_queues=true
    *(
        option
        for option in bus_settings.options("", "rabbit[s]://host[:port][/vhost]")
        if option.dest not in ("username", "password_file")
    ),
    # With via = event_api they are Keystone's, as are all of keystoneauth's options.
    cfg.StrOpt("username", help="Who we are at Vitrage's RabbitMQ, or at Keystone."),
    cfg.StrOpt(
        "password_file",
        default="",
        help="The password that goes with username, or the secret that auth_type needs, is"
        " this file's first line.",
    ),
    cfg.FloatOpt(
        "reconcile_interval",
        default=60.0,
        min=0.0,
        help="Seconds after which every active fault is told again; 0: never.",
    ),
]


class Way(Protocol):
    """How an event gets to Vitrage; raises where it did not."""

    timeout_s: float

    async def open(self) -> None: ...

    async def tell(self, event: dict[str, Any]) -> None: ...

    async def close(self) -> None: ...


class VitrageSink(Sink):
    name: ClassVar[str] = "vitrage"
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = keystone_session.options(_OWN_OPTIONS)
    concurrency = 8

    @classmethod
    def configured(cls, path: Path, conf: cfg.ConfigOpts) -> Self:
        section = conf[SECTION]
        way = _bus(path, section) if section.via == "bus" else _event_api(path, conf)
        return cls(way, section.reconcile_interval or None)

    def __init__(self, way: Way, reconcile_s: float | None) -> None:
        self._way = way
        self.timeout_s = way.timeout_s
        self.reconcile_s = reconcile_s

    async def __aenter__(self) -> Self:
        await self._way.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._way.close()

    async def deliver(self, fault: Fault) -> None:
        await self._way.tell(event_of(fault))


def event_of(fault: Fault) -> dict[str, Any]:
    """What Vitrage passes on to the datasource. `details` must have no `status` of up or down:
    Vitrage would take it for an event of Doctor's."""
    details = msgspec.to_builtins(fault)
    del details["deliveries"]
    return {"time": _time(fault.changed_at), "type": EVENT_TYPE, "details": details}


def _time(moment: str) -> str:
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:  # an agent's; the datasource reads the fault's own
        then = datetime.now(UTC)
    return then.astimezone(UTC).strftime(TIME_FORMAT)


class _Bus:
    timeout_s = float(TIMEOUT_S)

    def __init__(self, section: Any) -> None:
        self._notifier = topic_notifier(
            section.url,
            exchange=EXCHANGE,
            topic=TOPIC,
            publisher=f"reachthru-{socket.gethostname()}",
            door=bus_settings.door(section),
        )

    async def open(self) -> None:
        """It connects when there is something to tell."""

    async def tell(self, event: dict[str, Any]) -> None:
        try:
            await self._notifier.notify(EVENT_TYPE, event)
        except (BusUnavailableError, DoorError) as error:
            raise NotNowError(_of_this_section(error)) from error

    async def close(self) -> None:
        await self._notifier.close()


class _EventApi:
    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._client = ServiceClient(conf, SECTION, SERVICE_TYPE)
        self.timeout_s = self._client.timeout_s

    async def open(self) -> None:
        await self._client.__aenter__()

    async def tell(self, event: dict[str, Any]) -> None:
        answer = await self._client.send("POST", "/v1/event", event)
        answer.insist_on_yes(_PATIENCE)
        answer.insist_on_no_error_inside()

    async def close(self) -> None:
        await self._client.__aexit__(None, None, None)


def _bus(path: Path, section: Any) -> Way:
    try:
        return _Bus(section)
    except BusUrlError as error:
        raise SettingsError(f"{path}: [{SECTION}] url = {error}, since via = bus") from error
    except DoorError as error:
        raise SettingsError(f"{path}: [{SECTION}] {_of_this_section(error)}") from error


def _event_api(path: Path, conf: cfg.ConfigOpts) -> Way:
    keystone_session.check(
        path, conf, SECTION, because="since via = event_api", timeout_s=TIMEOUT_S
    )
    try:
        return _EventApi(conf)
    except CertificateError as error:
        raise SettingsError(f"{path}: [{SECTION}] {error}") from error


def _of_this_section(error: Exception) -> str:
    """The bus's errors name the options of [bus], which are here, too."""
    return str(error).replace("[bus]", f"[{SECTION}]")
