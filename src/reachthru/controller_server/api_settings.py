"""[api]: where REST listens, and for whom."""

import ipaddress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from oslo_config import cfg

from reachthru.certificates import CertificateError, client_tls
from reachthru.controller_server.rest.keystone import KeystoneSettings
from reachthru.controller_server.rest.local_door import HOST
from reachthru.controller_server.rest.tls import TlsSettings
from reachthru.secret_files import SecretFile, SecretFileError, shown_url
from reachthru.service import SettingsError, listen_address

OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt("listen", default="127.0.0.1:8780", help="Address and port of REST."),
    cfg.StrOpt(
        "auth",
        default="none",
        choices=["none", "token", "keystone"],
        help="Who may ask. none: this machine, anything; token and keystone: whoever has a token.",
    ),
    cfg.ListOpt(
        "allowed_hosts",
        default=[],
        help="With auth = none: names besides localhost and loopback addresses by which this"
        " controller may be asked, as a proxy's; under no other name does it answer.",
    ),
    cfg.StrOpt(
        "reader_token_file",
        default="",
        help="Tokens that may read, one a line; with keystone too, for what can't get tokens"
        " there.",
    ),
    cfg.StrOpt(
        "admin_token_file", default="", help="Tokens that may change something, one a line."
    ),
    cfg.StrOpt("keystone_url", default="", help="Keystone's address, where auth = keystone."),
    cfg.StrOpt(
        "keystone_ca_file",
        default="",
        help="PEM: the authorities that may vouch for Keystone; empty: the machine's.",
    ),
    cfg.ListOpt(
        "admin_roles",
        default=["admin"],
        help="Keystone's roles that may change something, in any project.",
    ),
    cfg.ListOpt(
        "reader_roles",
        default=["reader"],
        help="Keystone's roles that may read, in the system and in reader_projects.",
    ),
    cfg.ListOpt(
        "reader_projects",
        default=[],
        help="Ids of the projects in which reader_roles count, besides the system.",
    ),
    cfg.StrOpt("tls_cert_file", default="", help="PEM: REST's certificate; empty: no TLS."),
    cfg.StrOpt("tls_key_file", default="", help="PEM: its key."),
    cfg.StrOpt(
        "tls_client_ca_file",
        default="",
        help="PEM: whoever asks must have a certificate of these authorities, too.",
    ),
]


class ApiSettings(Struct, frozen=True, kw_only=True):
    """Without token files and `keystone` everybody on this machine may do everything."""

    host: str
    port: int
    allowed_hosts: frozenset[str]
    reader_tokens: SecretFile | None
    admin_tokens: SecretFile | None
    keystone: KeystoneSettings | None
    tls: TlsSettings | None

    @property
    def locked(self) -> bool:
        return any((self.reader_tokens, self.admin_tokens, self.keystone))

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def api_settings(path: Path, conf: cfg.ConfigOpts) -> ApiSettings:
    """From settings in which `OPTIONS` are registered as [api]. Raises `SettingsError`."""
    section = conf.api
    host, port = listen_address(path, "api", section.listen)
    settings = ApiSettings(
        host=host,
        port=port,
        allowed_hosts=_allowed_hosts(path, section),
        reader_tokens=_token_file(path, section, "reader_token_file"),
        admin_tokens=_token_file(path, section, "admin_token_file"),
        keystone=_keystone(path, section),
        tls=_tls(path, section),
    )
    if section.auth == "none" and not settings.loopback:
        raise SettingsError(
            f"{path}: [api] listen = {section.listen}: others could ask from there, and with "
            "[api] auth = none nobody is asked for a token; set auth = token or keystone, or "
            "listen on 127.0.0.1"
        )
    if section.auth == "token" and not settings.locked:
        raise SettingsError(
            f"{path}: [api] auth = token: needs reader_token_file, admin_token_file or both"
        )
    return settings


def _allowed_hosts(path: Path, section: Any) -> frozenset[str]:
    names = frozenset(name.lower().rstrip(".") for name in section.allowed_hosts)
    for name in names:
        found = HOST.fullmatch(name)
        if found is None or found["name"] != name:
            raise SettingsError(
                f"{path}: [api] allowed_hosts: {name!r} must be a name or an address (IPv6 in "
                "brackets), without scheme and port"
            )
    if names and section.auth != "none":
        raise SettingsError(
            f"{path}: [api] allowed_hosts: leave it out; with auth = {section.auth} the token "
            "counts, under any name"
        )
    return names


def _token_file(path: Path, section: Any, option: str) -> SecretFile | None:
    value = section[option]
    if not value:
        return None
    if section.auth == "none":
        raise SettingsError(f"{path}: [api] {option}: set auth = token or keystone with it")
    file = SecretFile(Path(value))
    try:
        file.lines()
    except SecretFileError as error:
        raise SettingsError(f"{path}: [api] {option}: {error}") from error
    return file


def _keystone(path: Path, section: Any) -> KeystoneSettings | None:
    if section.auth != "keystone":
        if section.keystone_url:
            raise SettingsError(f"{path}: [api] keystone_url: set auth = keystone with it")
        return None
    parts = urlsplit(section.keystone_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise SettingsError(
            f"{path}: [api] keystone_url = {shown_url(section.keystone_url)}: must be Keystone's "
            "address, https://... or http://..., since auth = keystone"
        )
    try:
        client_tls(section.keystone_ca_file or None, None, None)
    except CertificateError as error:
        raise SettingsError(f"{path}: [api] keystone_{error}") from error
    return KeystoneSettings(
        url=shown_url(section.keystone_url),
        ca_file=section.keystone_ca_file or None,
        reader_roles=frozenset(section.reader_roles),
        admin_roles=frozenset(section.admin_roles),
        reader_projects=frozenset(section.reader_projects),
    )


def _tls(path: Path, section: Any) -> TlsSettings | None:
    if not section.tls_cert_file and not section.tls_key_file:
        if section.tls_client_ca_file:
            raise SettingsError(
                f"{path}: [api] tls_client_ca_file: needs tls_cert_file and tls_key_file"
            )
        return None
    if not section.tls_cert_file or not section.tls_key_file:
        raise SettingsError(f"{path}: [api] tls_cert_file and tls_key_file: one needs the other")
    return TlsSettings(
        cert_file=Path(section.tls_cert_file),
        key_file=Path(section.tls_key_file),
        client_ca_file=Path(section.tls_client_ca_file) if section.tls_client_ca_file else None,
    )
