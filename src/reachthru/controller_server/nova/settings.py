"""The [nova] section of the controller's settings.

Besides the options here it takes keystoneauth's (auth_type, auth_url, endpoint_override, timeout,
cafile, ...), as the [nova] and [placement] sections of other services do.
"""

import importlib.util
import socket
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from oslo_config import cfg

from reachthru.controller_server import keystone_session
from reachthru.secret_files import shown_url
from reachthru.service import SettingsError, url_with_secret

USUAL_API_PORT = 8780

OWN_OPTIONS: list[cfg.Opt] = [
    # RabbitMQ, where Nova's notifications are; empty: no Nova. What else the connection needs
    # goes behind a question mark, by oslo.messaging's names: ?ssl=true&amqp_durable_queues=true
    cfg.StrOpt(
        "notifications_url",
        default="",
        secret=True,
        help="RabbitMQ, where Nova's notifications are; empty: no Nova.",
    ),
    cfg.StrOpt(
        "notifications_password_file",
        default="",
        help="A file with that URL's password, where the URL has none.",
    ),
    # Our own queue on that RabbitMQ: one for each controller, and the same one after a restart.
    # Empty: reachthru-<this machine's name>, with [api] listen's port if that is not 8780.
    # RabbitMQ keeps it while the controller is away, and forever if its host is given up: an
    # `expires` policy on "^reachthru-" is advisable.
    cfg.StrOpt(
        "notifications_pool",
        default="",
        help="Our own queue there; empty: reachthru- and this machine's name.",
    ),
    cfg.FloatOpt(
        "snapshot_interval_s",
        default=60.0,
        min=1.0,
        help="Seconds after which all is read anew, in case a notification was lost.",
    ),
]

_TIMEOUT_S = 10.0  # where [nova] timeout is not set


class NovaSettings(Struct, frozen=True, kw_only=True):
    notifications_url: str
    notifications_pool: str
    snapshot_interval_s: float
    conf: cfg.ConfigOpts  # whose [nova] section keystoneauth reads


def options() -> list[cfg.Opt]:
    """What [nova] may hold: ours, and keystoneauth's where it is installed."""
    return keystone_session.options(OWN_OPTIONS)


def default_pool(api_port: int) -> str:
    """A name that no other controller has: they share a machine, or not even that."""
    name = f"reachthru-{socket.gethostname()}"
    return name if api_port == USUAL_API_PORT else f"{name}-{api_port}"


def nova_settings(
    path: Path, conf: cfg.ConfigOpts, api_port: int = USUAL_API_PORT
) -> NovaSettings | None:
    """From settings in which `options()` are registered as [nova]; None: there is no Nova.

    Raises `SettingsError`.
    """
    own = conf.nova
    url = own.notifications_url
    if not url:
        return None
    if importlib.util.find_spec("oslo_messaging") is None:
        raise SettingsError(
            f"{path}: [nova] notifications_url: needs Python packages that are not installed: "
            "pip install 'reachthru[openstack]'"
        )
    if urlsplit(url).scheme not in ("rabbit", "rabbits"):
        raise SettingsError(
            f"{path}: [nova] notifications_url = {shown_url(url)}: must be rabbit://user:password@host:port/"
        )
    keystone_session.check(
        path, conf, "nova", because="since notifications_url is", timeout_s=_TIMEOUT_S
    )
    return NovaSettings(
        notifications_url=url_with_secret(
            path, "nova", "notifications_password_file", url, own.notifications_password_file
        ),
        notifications_pool=own.notifications_pool or default_pool(api_port),
        snapshot_interval_s=own.snapshot_interval_s,
        conf=conf,
    )
