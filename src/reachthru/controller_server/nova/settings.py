"""The [nova] section of the controller's settings.

Besides the options here it takes keystoneauth's (auth_type, auth_url, endpoint_override, timeout,
cafile, ...), as the [nova] and [placement] sections of other services do.
"""

import copy
import importlib
import importlib.util
import socket
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from oslo_config import cfg

from reachthru.secret_files import shown_url
from reachthru.service import SettingsError, secret, url_with_secret

USUAL_API_PORT = 8780

OWN_OPTIONS: list[cfg.Opt] = [
    # RabbitMQ, where Nova's notifications are; empty: no Nova. What else the connection needs
    # goes behind a question mark, by oslo.messaging's names: ?ssl=true&amqp_durable_queues=true
    cfg.StrOpt("notifications_url", default="", secret=True),
    # A file with that URL's password, where the URL has none.
    cfg.StrOpt("notifications_password_file", default=""),
    # A file with the secret that auth_type needs: password, application_credential_secret or token.
    cfg.StrOpt("password_file", default=""),
    # Our own queue on that RabbitMQ: one for each controller, and the same one after a restart.
    # Empty: reachthru-<this machine's name>, with [api] listen's port if that is not 8780.
    # RabbitMQ keeps it while the controller is away, and forever if its host is given up: an
    # `expires` policy on "^reachthru-" is advisable.
    cfg.StrOpt("notifications_pool", default=""),
    # How often all is read anew, in case a notification was lost.
    cfg.FloatOpt("snapshot_interval_s", default=60.0, min=1.0),
]

AUTH_TYPES = (
    "password",
    "v3password",
    "v3applicationcredential",
    "token",
    "v3token",
    "admin_token",
    "none",
)
_SECRET_OPTIONS = {
    "password": "password",
    "v3password": "password",
    "v3applicationcredential": "application_credential_secret",
    "token": "token",
    "v3token": "token",
    "admin_token": "token",
}
_TIMEOUT_S = 10  # where [nova] timeout is not set: keystoneauth would wait forever


class NovaSettings(Struct, frozen=True, kw_only=True):
    notifications_url: str
    notifications_pool: str
    snapshot_interval_s: float
    conf: cfg.ConfigOpts  # whose [nova] section keystoneauth reads


def options() -> list[cfg.Opt]:
    """What [nova] may hold: ours, and keystoneauth's where it is installed."""
    if importlib.util.find_spec("keystoneauth1") is None:
        return list(OWN_OPTIONS)
    loading = importlib.import_module("keystoneauth1.loading")
    found = [
        *loading.get_auth_common_conf_options(),
        *loading.get_session_conf_options(),
        *loading.get_adapter_conf_options(include_deprecated=False),
    ]
    for name in AUTH_TYPES:
        found += loading.get_auth_plugin_conf_options(name)
    # Plugins share options, in variants of the help text: the first of a name stands. None is
    # required here: which ones are, depends on auth_type, and keystoneauth says so.
    by_name: dict[str, cfg.Opt] = {}
    for option in (*OWN_OPTIONS, *found):
        by_name.setdefault(option.dest, copy.copy(option)).required = False
    return list(by_name.values())


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
    if own.auth_type not in AUTH_TYPES:
        raise SettingsError(
            f"{path}: [nova] auth_type = {own.auth_type or ''}: must be set, since "
            f"notifications_url is, to one of {', '.join(AUTH_TYPES)}"
        )
    if own.password_file:
        _use_secret(path, conf, own.auth_type, own.password_file)
    if own.timeout is None:
        conf.set_default("timeout", _TIMEOUT_S, group="nova")
    return NovaSettings(
        notifications_url=url_with_secret(
            path, "nova", "notifications_password_file", url, own.notifications_password_file
        ),
        notifications_pool=own.notifications_pool or default_pool(api_port),
        snapshot_interval_s=own.snapshot_interval_s,
        conf=conf,
    )


def _use_secret(path: Path, conf: cfg.ConfigOpts, auth_type: str, file: str) -> None:
    """What `file` holds, where keystoneauth looks for it."""
    option = _SECRET_OPTIONS.get(auth_type)
    if option is None:
        raise SettingsError(f"{path}: [nova] password_file: auth_type = {auth_type} needs none")
    if conf.nova[option]:
        raise SettingsError(f"{path}: [nova] password_file: {option} is set already")
    conf.set_override(option, secret(path, "nova", "password_file", file), group="nova")
