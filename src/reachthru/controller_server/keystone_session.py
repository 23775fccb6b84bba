"""Keystone for a section of the settings, as other OpenStack services are set up for it.

Such a section takes keystoneauth's options (auth_type, auth_url, endpoint_override, region_name,
timeout, cafile, ...) besides its own. keystoneauth itself is imported where it is needed only: it
comes with `reachthru[openstack]`.

It blocks: what calls `session` or `adapter` does so in a thread; `KeystoneService` has its own.
"""

import asyncio
import contextlib
import copy
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from oslo_config import cfg

from reachthru.secret_files import without_secrets
from reachthru.service import SettingsError, secret

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
_OWN_OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "password_file",
        default="",
        help="A file with the secret that auth_type needs: password,"
        " application_credential_secret or token.",
    ),
]


class KeystoneError(Exception):
    """Keystone gave no token, or knows no such service; one line for the operator."""


class ServiceTerms(NamedTuple):
    """How to ask a service. `endpoint` has no slash at its end; `headers` hold the token."""

    endpoint: str
    headers: dict[str, str]


def options(own: Sequence[cfg.Opt]) -> list[cfg.Opt]:
    """What a section may hold: `own` options, and keystoneauth's where it is installed."""
    if not is_installed():
        return [*own, *_OWN_OPTIONS, cfg.StrOpt("auth_type")]
    from keystoneauth1 import loading  # noqa: PLC0415

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
    for option in (*own, *_OWN_OPTIONS, *found):
        by_name.setdefault(option.dest, copy.copy(option)).required = False
    # An old name of theirs (`url` was admin_token's `endpoint`) may be a name of ours.
    ours = {option.name for option in own}
    for option in by_name.values():
        option.deprecated_opts = [old for old in option.deprecated_opts if old.name not in ours]
    return list(by_name.values())


def is_installed() -> bool:
    return importlib.util.find_spec("keystoneauth1") is not None


def check(
    path: Path, conf: cfg.ConfigOpts, section: str, *, because: str, timeout_s: float
) -> None:
    """Makes `section` ready for `session`; its secret is read, and its timeout set if it was not.

    `because` says why Keystone is needed. Raises `SettingsError`.
    """
    if not is_installed():
        raise SettingsError(
            f"{path}: [{section}]: needs Python packages that are not installed, {because}: "
            "pip install 'reachthru[openstack]'"
        )
    own = conf[section]
    if own.auth_type not in AUTH_TYPES:
        raise SettingsError(
            f"{path}: [{section}] auth_type = {own.auth_type or ''}: must be set, {because}, "
            f"to one of {', '.join(AUTH_TYPES)}"
        )
    if own.password_file:
        _use_secret(path, conf, section)
    if own.timeout is None:  # keystoneauth would wait for ever
        conf.set_default("timeout", timeout_s, group=section)


def _use_secret(path: Path, conf: cfg.ConfigOpts, section: str) -> None:
    """What `password_file` holds, where keystoneauth looks for it."""
    own = conf[section]
    option = _SECRET_OPTIONS.get(own.auth_type)
    if option is None:
        raise SettingsError(
            f"{path}: [{section}] password_file: auth_type = {own.auth_type} needs none"
        )
    if own[option]:
        raise SettingsError(f"{path}: [{section}] password_file: {option} is set already")
    found = secret(path, section, "password_file", own.password_file)
    conf.set_override(option, found, group=section)


def session(conf: cfg.ConfigOpts, section: str) -> Any:
    """A `keystoneauth1.session.Session` that asks nobody yet.

    Raises keystoneauth's `ClientException`, where an option that auth_type needs is missing.
    """
    from keystoneauth1 import loading  # noqa: PLC0415

    own = conf[section]
    loader: Any = loading.get_plugin_loader(own.auth_type)
    auth = loader.load_from_options_getter(lambda option: own[option.dest])
    return loading.load_session_from_conf_options(conf, section, auth=auth)


def adapter(conf: cfg.ConfigOpts, section: str, service_type: str) -> Any:
    """A `keystoneauth1.adapter.Adapter` of the section's service, else of `service_type`."""
    from keystoneauth1 import loading  # noqa: PLC0415

    made = loading.load_adapter_from_conf_options(conf, section, session=session(conf, section))
    made.service_type = made.service_type or service_type
    return made


class KeystoneService:
    """Where a service is, and a token for it; renewed by keystoneauth before it expires.

    Asked in threads that nobody joins: who waits for a Keystone that hangs holds up nobody else,
    and no stop.
    """

    def __init__(self, conf: cfg.ConfigOpts, section: str, service_type: str) -> None:
        self._conf = conf
        self._section = section
        self._service_type = service_type
        self._adapter: Any = None
        self._turn = asyncio.Lock()  # whoever needs a token meanwhile is given the same one

    async def terms(self, *, anew: bool = False) -> ServiceTerms:
        """`anew`: with another token, since the service refused the last one.

        Raises `KeystoneError`.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ServiceTerms] = loop.create_future()

        def settle(found: ServiceTerms | KeystoneError) -> None:
            if answer.done():  # given up meanwhile
                return
            if isinstance(found, KeystoneError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def ask() -> None:
            found: ServiceTerms | KeystoneError
            try:
                found = self._terms(anew)
            except KeystoneError as error:
                found = error
            except Exception as error:  # whatever keystoneauth makes of a garbled answer
                found = KeystoneError(f"Keystone: {type(error).__name__}: {error}")
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, found)

        async with self._turn:
            threading.Thread(target=ask, name=f"keystone-{self._section}", daemon=True).start()
            return await answer

    def _terms(self, anew: bool) -> ServiceTerms:
        from keystoneauth1.exceptions import ClientException, EndpointNotFound  # noqa: PLC0415

        endpoint = None
        try:
            if self._adapter is None:
                self._adapter = adapter(self._conf, self._section, self._service_type)
            if anew:
                self._adapter.invalidate()
            headers = self._adapter.session.get_auth_headers() or {}
            with contextlib.suppress(EndpointNotFound):
                endpoint = self._adapter.get_endpoint()
        except ClientException as error:
            reason = without_secrets(" ".join(str(error).split())) or type(error).__name__
            raise KeystoneError(f"Keystone: {reason}") from error
        if not endpoint:
            raise KeystoneError(
                f"Keystone's catalog has no {self._adapter.service_type} in region"
                f" {self._adapter.region_name or 'any'}; [{self._section}] endpoint_override may"
                " name its URL"
            )
        return ServiceTerms(endpoint.rstrip("/"), dict(headers))
