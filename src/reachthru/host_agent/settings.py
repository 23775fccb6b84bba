"""The host agent's settings: an INI file, read strictly."""

import socket
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from reachthru import service
from reachthru.bus import BusDoor
from reachthru.bus import settings as bus_settings
from reachthru.protocol.group_port import GroupPolicy
from reachthru.service import SettingsError
from reachthru.telemetry import logs, traces

OPTIONS: dict[str, list[cfg.Opt]] = {
    "DEFAULT": [
        cfg.StrOpt(
            "host",
            help="This compute node's name, as Nova knows it. The machine's name by default.",
        ),
        *logs.OPTIONS,
    ],
    "discovery": [
        cfg.StrOpt(
            "driver",
            default="libvirt",
            choices=["libvirt", "directory"],
            help="Who knows which instances there are.",
        ),
    ],
    "libvirt": [
        cfg.StrOpt("connection_uri", default="qemu:///system", help="The libvirt to ask."),
        cfg.BoolOpt(
            "hotplug",
            default=False,
            help="Plug the port into running domains whose flavor asks for it and that were booted"
            " without, if they have a virtio-serial controller.",
        ),
    ],
    "directory": [
        cfg.StrOpt(
            "path",
            default="/run/ports",
            help="The folder that holds <port name>.<instance id>.sock.",
        ),
    ],
    "heartbeat": [
        cfg.IntOpt(
            "min_interval_ms",
            default=100,
            min=10,
            max=3_600_000,
            help="A guest that asks for less is given this much, for the host's sake.",
        ),
        cfg.IntOpt(
            "failure_threshold",
            default=1,
            min=1,
            max=1000,
            help="Missed intervals in a row that make a fault.",
        ),
        cfg.FloatOpt(
            "registration_limit_s",
            default=0.0,
            min=0.0,
            help="A guest that has not registered so long after its start is a fault; 0: never.",
        ),
    ],
    "groups": [
        cfg.FloatOpt(
            "rate_per_s",
            default=20.0,
            min=0.1,
            max=100.0,
            help="Server-group messages that one guest may send on average; more are refused.",
        ),
        cfg.IntOpt("burst", default=40, min=1, max=200, help="And so many at once."),
        cfg.FloatOpt(
            "max_age_s",
            default=2.0,
            min=0.1,
            max=60.0,
            help="What waits longer for a guest that does not listen is dropped.",
        ),
        cfg.IntOpt(
            "max_queue", default=64, min=1, max=1000, help="Messages that wait for one guest."
        ),
    ],
    "bus": bus_settings.options(
        "mqtt://127.0.0.1:1883",
        "Where controllers are found: mqtt[s]://host[:port], rabbit[s]://host[:port]/vhost,"
        " or memory://name.",
    ),
    "metrics": [
        cfg.StrOpt(
            "listen",
            default="",
            help="ADDRESS:PORT where Prometheus asks for /metrics; empty: nowhere.",
        ),
        cfg.StrOpt("tls_cert_file", default="", help="PEM: the certificate to show; empty: HTTP."),
        cfg.StrOpt("tls_key_file", default="", help="PEM: its key; empty: it is in tls_cert_file."),
        cfg.StrOpt(
            "tls_client_ca_file",
            default="",
            help="PEM: whoever asks must show a certificate of these authorities; empty: anybody.",
        ),
    ],
    "tracing": traces.OPTIONS,
    "outbox": [
        cfg.StrOpt(
            "path",
            default="/var/lib/reachthru/outbox.sqlite",
            help="Faults wait here until a controller has them.",
        ),
    ],
}


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`client_ca_file`: whoever asks must show a certificate of these authorities."""

    host: str
    port: int
    cert_file: Path | None
    key_file: Path | None
    client_ca_file: Path | None


@dataclass(frozen=True, slots=True)
class HostSettings:
    host: str
    driver: str
    connection_uri: str
    hotplug: bool
    directory: Path
    min_interval_ms: int
    failure_threshold: int
    registration_limit_s: float
    groups: GroupPolicy
    bus_url: str
    bus_door: BusDoor
    outbox_path: Path
    metrics: MetricsSettings | None = None  # None: nobody may ask
    otlp_endpoint: str = ""  # empty: no traces
    use_json: bool = False
    debug: bool = False


def load(path: Path) -> HostSettings:
    """Raises `service.SettingsError`, one line for the operator."""
    conf = service.load(path, OPTIONS)
    return HostSettings(
        host=conf.host or socket.gethostname(),
        driver=conf.discovery.driver,
        connection_uri=conf.libvirt.connection_uri,
        hotplug=conf.libvirt.hotplug,
        directory=Path(conf.directory.path),
        min_interval_ms=conf.heartbeat.min_interval_ms,
        failure_threshold=conf.heartbeat.failure_threshold,
        registration_limit_s=conf.heartbeat.registration_limit_s,
        groups=GroupPolicy(
            rate_per_s=conf.groups.rate_per_s,
            burst=conf.groups.burst,
            max_age_s=conf.groups.max_age_s,
            max_queue=conf.groups.max_queue,
        ),
        bus_url=conf.bus.url,
        bus_door=bus_settings.door(conf.bus),
        outbox_path=Path(conf.outbox.path),
        metrics=_metrics(path, conf.metrics),
        otlp_endpoint=conf.tracing.otlp_endpoint,
        use_json=conf.use_json,
        debug=conf.debug,
    )


def _metrics(path: Path, section: cfg.ConfigOpts) -> MetricsSettings | None:
    cert, key = section.tls_cert_file, section.tls_key_file
    client_ca = section.tls_client_ca_file
    if (key or client_ca) and not cert:
        raise SettingsError(
            f"{path}: [metrics] tls_key_file, tls_client_ca_file: need tls_cert_file"
        )
    if not section.listen:
        return None
    host, port = service.listen_address(path, "metrics", section.listen)
    return MetricsSettings(
        host=host,
        port=port,
        cert_file=Path(cert) if cert else None,
        key_file=Path(key) if key else None,
        client_ca_file=Path(client_ca) if client_ca else None,
    )
