"""`[bus]` in both daemons' settings files."""

from pathlib import Path

from oslo_config import cfg

from reachthru.bus.doors import BusDoor


def options(default_url: str, url_help: str) -> list[cfg.Opt]:
    return [
        cfg.StrOpt("url", default=default_url, help=url_help),
        cfg.StrOpt(
            "ca_file",
            default="",
            help="PEM: the authorities that may vouch for the broker; empty: the machine's.",
        ),
        cfg.StrOpt("cert_file", default="", help="PEM: the certificate to show to the broker."),
        cfg.StrOpt("key_file", default="", help="PEM: its key; empty: it is in cert_file as well."),
        cfg.StrOpt("username", default="", help="The name to tell the broker."),
        cfg.StrOpt(
            "password_file",
            default="",
            help="The password that goes with username is this file's first line.",
        ),
    ]


def door(group: cfg.ConfigOpts) -> BusDoor:
    """The locks in `[bus]`, which is `group`; whoever makes a bus of it checks them."""
    return BusDoor(
        ca_file=_path(group.ca_file),
        cert_file=_path(group.cert_file),
        key_file=_path(group.key_file),
        username=group.username or None,
        password_file=_path(group.password_file),
    )


def _path(text: str) -> Path | None:
    return Path(text) if text else None
