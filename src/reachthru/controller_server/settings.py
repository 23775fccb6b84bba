"""/etc/reachthru/controller.conf, checked."""

import math
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from oslo_config import cfg

from reachthru import service
from reachthru.bus import BusDoor, BusUrlError, DoorError, controller_bus
from reachthru.bus import settings as bus_settings
from reachthru.controller_server import api_settings, sinks
from reachthru.controller_server.api_settings import ApiSettings
from reachthru.controller_server.embedded_broker import DEFAULT_PORT
from reachthru.controller_server.nova.settings import NovaSettings, nova_settings
from reachthru.controller_server.nova.settings import options as nova_options
from reachthru.controller_server.sinks.base import Sink
from reachthru.secret_files import shown_url
from reachthru.service import SettingsError
from reachthru.telemetry import logs, traces

DEFAULT_PATH = Path("/etc/reachthru/controller.conf")
EMBEDDED = "embedded"

OPTIONS: dict[str, Sequence[cfg.Opt]] = {
    "DEFAULT": logs.OPTIONS,
    "tracing": traces.OPTIONS,
    "bus": bus_settings.options(
        "mqtt://embedded",
        "Where agents are found: mqtt[s]://host[:port] or mqtt://embedded[:port].",
    ),
    "database": [
        cfg.StrOpt(
            "connection",
            default="sqlite:////var/lib/reachthru/controller.sqlite",
            help="SQLAlchemy's address of the database: sqlite:///PATH, or"
            " postgresql+psycopg://USER@HOST/NAME.",
        ),
        cfg.StrOpt(
            "password_file",
            default="",
            help="The password that goes with connection is this file's first line.",
        ),
        cfg.FloatOpt(
            "keep_cleared_days",
            default=30.0,
            min=0.01,
            help="Faults that are over, and were told to every sink, are kept so long.",
        ),
        cfg.IntOpt(
            "max_cleared_faults", default=100_000, min=0, help="And no more of them than these."
        ),
    ],
    "api": api_settings.OPTIONS,
    "groups": [
        cfg.StrOpt(
            "static_file",
            default="",
            help="Server groups in YAML, {group: [instance uuid, ...]}, where there is no Nova.",
        ),
        cfg.BoolOpt(
            "show_hosts",
            default=False,
            help="Guests may know on which compute nodes their groups' members run.",
        ),
    ],
    "hosts": [
        cfg.FloatOpt(
            "lost_after_s",
            default=30.0,
            min=0.0,
            max=86_400.0,
            help="A host whose agent is silent for so long is lost; 0: none ever is. Agents"
            " report each 5 s.",
        )
    ],
    "sinks": [cfg.ListOpt("enabled", default=["log"], help="Who is told of faults, by name.")],
    **sinks.options(),
}


class Settings(Struct, frozen=True, kw_only=True):
    """`embedded_port`: start a broker there; None: the bus's broker is elsewhere.

    Server groups are Nova's where there is a Nova, else `groups_file`'s, else there are none; with
    `show_hosts`, guests may know on which compute nodes their groups' members run. `lost_after_s`
    is infinite where no host is ever to be called lost.
    """

    debug: bool
    use_json: bool
    otlp_endpoint: str  # empty: no traces
    bus_url: str
    bus_door: BusDoor
    embedded_port: int | None
    database_url: str
    keep_cleared_days: float
    max_cleared_faults: int
    api: ApiSettings
    nova: NovaSettings | None
    groups_file: Path | None
    show_hosts: bool
    lost_after_s: float
    sinks: tuple[Sink, ...]


def load(path: Path) -> Settings:
    """Raises `SettingsError`."""
    conf = service.load(path, {**OPTIONS, "nova": nova_options()})
    api = api_settings.api_settings(path, conf)
    nova = nova_settings(path, conf, api.port)
    if nova is not None and conf.groups.static_file:
        raise SettingsError(
            f"{path}: [groups] static_file = {conf.groups.static_file}: is for where there is no"
            " Nova, and [nova] notifications_url is set"
        )
    bus_door = bus_settings.door(conf.bus)
    embedded_port = _embedded_port(path, conf.bus.url, bus_door)
    return Settings(
        debug=conf.debug,
        use_json=conf.use_json,
        otlp_endpoint=conf.tracing.otlp_endpoint,
        bus_url=conf.bus.url,
        bus_door=bus_door,
        embedded_port=embedded_port,
        database_url=service.url_with_secret(
            path, "database", "password_file", conf.database.connection, conf.database.password_file
        ),
        api=api,
        keep_cleared_days=conf.database.keep_cleared_days,
        max_cleared_faults=conf.database.max_cleared_faults,
        nova=nova,
        groups_file=Path(conf.groups.static_file) if conf.groups.static_file else None,
        show_hosts=conf.groups.show_hosts,
        lost_after_s=conf.hosts.lost_after_s or math.inf,
        sinks=sinks.configured(path, conf),
    )


def _embedded_port(path: Path, url: str, door: BusDoor) -> int | None:
    parts = urlsplit(url)
    if parts.hostname != EMBEDDED:
        try:
            controller_bus(url, name="", door=door)
        except BusUrlError as error:
            raise SettingsError(
                f"{path}: [bus] url = {error}, or mqtt://embedded[:port]"
            ) from error
        except DoorError as error:
            raise SettingsError(f"{path}: [bus] {error}") from error
        return None
    if door != BusDoor():
        raise SettingsError(
            f"{path}: [bus] url = {url}: the broker inside has no locks, and is reached from this"
            " machine only; leave the other keys of [bus] out, or name a broker of your own"
        )
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme != "mqtt" or port == -1 or parts.path not in ("", "/"):
        raise SettingsError(f"{path}: [bus] url = {shown_url(url)}: must be mqtt://embedded[:port]")
    return DEFAULT_PORT if port is None else port
