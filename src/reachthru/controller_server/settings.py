"""/etc/reachthru/controller.conf, checked."""

from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from oslo_config import cfg

from reachthru import service
from reachthru.bus import BusUrlError, controller_bus
from reachthru.controller_server.embedded_broker import DEFAULT_PORT
from reachthru.controller_server.nova.settings import NovaSettings, nova_settings
from reachthru.controller_server.nova.settings import options as nova_options
from reachthru.service import SettingsError

DEFAULT_PATH = Path("/etc/reachthru/controller.conf")
SINKS = ("log", "webhook")
EMBEDDED = "embedded"

OPTIONS: dict[str, list[cfg.Opt]] = {
    "DEFAULT": [cfg.BoolOpt("debug", default=False)],
    "bus": [cfg.StrOpt("url", default="mqtt://embedded")],
    "database": [
        cfg.StrOpt("connection", default="sqlite:////var/lib/reachthru/controller.sqlite"),
        cfg.FloatOpt("keep_cleared_days", default=30.0, min=0.01),
        cfg.IntOpt("max_cleared_faults", default=100_000, min=0),
    ],
    "api": [cfg.StrOpt("listen", default="127.0.0.1:8780")],
    "groups": [
        cfg.StrOpt("static_file", default=""),
        cfg.BoolOpt("show_hosts", default=False),
    ],
    "sinks": [cfg.ListOpt("enabled", default=["log"])],
    "sink_webhook": [
        cfg.StrOpt("url", default=""),
        cfg.FloatOpt("timeout", default=5.0, min=0.1, max=60.0),
        cfg.FloatOpt("reconcile_interval", default=0.0, min=0.0),
    ],
}


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """`reconcile_interval_s`: how often every active fault is told again; 0: never."""

    url: str
    timeout_s: float
    reconcile_interval_s: float = 0.0


class Settings(Struct, frozen=True, kw_only=True):
    """`embedded_port`: start a broker there; None: the bus's broker is elsewhere.

    Server groups are Nova's where there is a Nova, else `groups_file`'s, else there are none; with
    `show_hosts`, guests may know on which compute nodes their groups' members run.
    """

    debug: bool
    bus_url: str
    embedded_port: int | None
    database_url: str
    keep_cleared_days: float
    max_cleared_faults: int
    api_host: str
    api_port: int
    nova: NovaSettings | None
    groups_file: Path | None
    show_hosts: bool
    sinks: tuple[str, ...]
    webhook: WebhookSettings


def load(path: Path) -> Settings:
    """Raises `SettingsError`."""
    conf = service.load(path, {**OPTIONS, "nova": nova_options()})
    nova = nova_settings(path, conf)
    if nova is not None and conf.groups.static_file:
        raise SettingsError(
            f"{path}: [groups] static_file = {conf.groups.static_file}: is for where there is no"
            " Nova, and [nova] notifications_url is set"
        )
    embedded_port = _embedded_port(path, conf.bus.url)
    api_host, api_port = _listen(path, conf.api.listen)
    sinks = _sinks(path, conf.sinks.enabled)
    webhook = WebhookSettings(
        url=conf.sink_webhook.url,
        timeout_s=conf.sink_webhook.timeout,
        reconcile_interval_s=conf.sink_webhook.reconcile_interval,
    )
    if "webhook" in sinks and urlsplit(webhook.url).scheme not in ("http", "https"):
        raise SettingsError(
            f"{path}: [sink_webhook] url = {webhook.url}: must be http://... or https://..., "
            "since [sinks] enabled has webhook"
        )
    return Settings(
        debug=conf.debug,
        bus_url=conf.bus.url,
        embedded_port=embedded_port,
        database_url=conf.database.connection,
        keep_cleared_days=conf.database.keep_cleared_days,
        max_cleared_faults=conf.database.max_cleared_faults,
        api_host=api_host,
        api_port=api_port,
        nova=nova,
        groups_file=Path(conf.groups.static_file) if conf.groups.static_file else None,
        show_hosts=conf.groups.show_hosts,
        sinks=sinks,
        webhook=webhook,
    )


def _embedded_port(path: Path, url: str) -> int | None:
    parts = urlsplit(url)
    if parts.hostname != EMBEDDED:
        try:
            controller_bus(url, name="")
        except BusUrlError as error:
            raise SettingsError(
                f"{path}: [bus] url = {error}, or mqtt://embedded[:port]"
            ) from error
        return None
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme != "mqtt" or port == -1 or parts.path not in ("", "/"):
        raise SettingsError(f"{path}: [bus] url = {url}: must be mqtt://embedded[:port]")
    return DEFAULT_PORT if port is None else port


def _listen(path: Path, listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{path}: [api] listen = {listen}: must be ADDRESS:PORT")
    return host.strip("[]"), int(port)


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
