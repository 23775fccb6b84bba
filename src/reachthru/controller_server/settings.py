"""/etc/reachthru/controller.conf, checked."""

import math
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from oslo_config import cfg

from reachthru import service
from reachthru.bus import BusDoor, BusUrlError, DoorError, controller_bus
from reachthru.bus import settings as bus_settings
from reachthru.certificates import CertificateError, client_tls
from reachthru.controller_server import api_settings
from reachthru.controller_server.api_settings import ApiSettings
from reachthru.controller_server.embedded_broker import DEFAULT_PORT
from reachthru.controller_server.nova.settings import NovaSettings, nova_settings
from reachthru.controller_server.nova.settings import options as nova_options
from reachthru.secret_files import SecretFile, SecretFileError, shown_url
from reachthru.service import SettingsError

DEFAULT_PATH = Path("/etc/reachthru/controller.conf")
SINKS = ("log", "webhook", "mqtt")
EMBEDDED = "embedded"

OPTIONS: dict[str, list[cfg.Opt]] = {
    "DEFAULT": [cfg.BoolOpt("debug", default=False)],
    "bus": bus_settings.options(
        "mqtt://embedded",
        "Where agents are found: mqtt[s]://host[:port] or mqtt://embedded[:port].",
    ),
    "database": [
        cfg.StrOpt("connection", default="sqlite:////var/lib/reachthru/controller.sqlite"),
        cfg.StrOpt("password_file", default=""),
        cfg.FloatOpt("keep_cleared_days", default=30.0, min=0.01),
        cfg.IntOpt("max_cleared_faults", default=100_000, min=0),
    ],
    "api": api_settings.OPTIONS,
    "groups": [
        cfg.StrOpt("static_file", default=""),
        cfg.BoolOpt("show_hosts", default=False),
    ],
    # A host whose agent is silent for so long is lost; 0: none ever is. Agents report each 5 s.
    "hosts": [cfg.FloatOpt("lost_after_s", default=30.0, min=0.0, max=86_400.0)],
    "sinks": [cfg.ListOpt("enabled", default=["log"])],
    "sink_webhook": [
        cfg.StrOpt("url", default=""),
        cfg.FloatOpt("timeout", default=5.0, min=0.1, max=60.0),
        # Whose certificates are trusted (default: the machine's authorities), and ours.
        cfg.StrOpt("ca_file", default=""),
        cfg.StrOpt("cert_file", default=""),
        cfg.StrOpt("key_file", default=""),
        # What each POST is signed with.
        cfg.StrOpt("secret_file", default=""),
        cfg.FloatOpt("reconcile_interval", default=0.0, min=0.0),
    ],
    "sink_mqtt": [
        *bus_settings.options("", "The broker to publish faults at: mqtt[s]://host[:port]."),
        cfg.StrOpt("topic", default="reachthru/1/faults"),
    ],
}


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """No `key_file`: the key is in `cert_file`. No `secret`: nothing is signed.

    `reconcile_interval_s`: how often every active fault is told again; 0: never.
    """

    url: str
    timeout_s: float
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    secret: SecretFile | None = None
    reconcile_interval_s: float = 0.0


class MqttSettings(Struct, frozen=True, kw_only=True):
    """Faults are published on `topic`/<instance's uuid or host's name>."""

    url: str
    door: BusDoor
    topic: str


class Settings(Struct, frozen=True, kw_only=True):
    """`embedded_port`: start a broker there; None: the bus's broker is elsewhere.

    Server groups are Nova's where there is a Nova, else `groups_file`'s, else there are none; with
    `show_hosts`, guests may know on which compute nodes their groups' members run. `lost_after_s`
    is infinite where no host is ever to be called lost.
    """

    debug: bool
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
    sinks: tuple[str, ...]
    webhook: WebhookSettings
    mqtt: MqttSettings


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
    sinks = _sinks(path, conf.sinks.enabled)
    webhook = _webhook(path, conf.sink_webhook)
    if "webhook" in sinks and urlsplit(webhook.url).scheme not in ("http", "https"):
        raise SettingsError(
            f"{path}: [sink_webhook] url = {shown_url(webhook.url)}: must be http://... or "
            "https://..., since [sinks] enabled has webhook"
        )
    return Settings(
        debug=conf.debug,
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
        sinks=sinks,
        webhook=webhook,
        mqtt=_mqtt(path, conf.sink_mqtt, wanted="mqtt" in sinks),
    )


def _webhook(path: Path, section: Any) -> WebhookSettings:
    secret = SecretFile(Path(section.secret_file)) if section.secret_file else None
    settings = WebhookSettings(
        url=section.url,
        timeout_s=section.timeout,
        ca_file=section.ca_file or None,
        cert_file=section.cert_file or None,
        key_file=section.key_file or None,
        secret=secret,
        reconcile_interval_s=section.reconcile_interval,
    )
    try:
        if secret is not None:
            secret.lines()
        client_tls(settings.ca_file, settings.cert_file, settings.key_file)
    except (SecretFileError, CertificateError) as error:
        raise SettingsError(f"{path}: [sink_webhook] {error}") from error
    return settings


def _mqtt(path: Path, section: Any, *, wanted: bool) -> MqttSettings:
    settings = MqttSettings(
        url=section.url, door=bus_settings.door(section), topic=section.topic.strip("/")
    )
    if not wanted:
        return settings
    if urlsplit(settings.url).scheme not in ("mqtt", "mqtts"):
        raise SettingsError(
            f"{path}: [sink_mqtt] url = {shown_url(settings.url)}: must be mqtt[s]://host[:port], "
            "since [sinks] enabled has mqtt"
        )
    if not settings.topic or set(settings.topic) & set("+#\0"):
        raise SettingsError(
            f"{path}: [sink_mqtt] topic = {settings.topic}: must be a name without '+' and '#'"
        )
    try:
        controller_bus(settings.url, name="", door=settings.door)
    except (BusUrlError, DoorError) as error:
        raise SettingsError(f"{path}: [sink_mqtt] {error}") from error
    return settings


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


def _sinks(path: Path, names: list[str]) -> tuple[str, ...]:
    for name in names:
        if name not in SINKS:
            raise SettingsError(
                f"{path}: [sinks] enabled = {','.join(names)}: no sink {name!r}; "
                f"allowed: {', '.join(SINKS)}"
            )
    if not names:
        raise SettingsError(f"{path}: [sinks] enabled: names no sink; allowed: {', '.join(SINKS)}")
    return tuple(dict.fromkeys(names))
