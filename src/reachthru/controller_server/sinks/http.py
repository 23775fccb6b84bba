"""HTTP as all sinks speak it: bounded in time and size, and an answer is a yes or one of two noes.

2xx is a yes. 4xx is a no for ever, but for those that ask for patience, and for what an operator
may put right meanwhile: who we are, and what we may (`ServiceClient`). Anything else may be a yes
later; a redirect, too, is a no: nobody may lead faults elsewhere.
"""

import ssl
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import aiohttp
import msgspec
from msgspec import Struct
from oslo_config import cfg

from reachthru import __version__
from reachthru.certificates import CertificateError, client_tls
from reachthru.controller_server.keystone_session import (
    KeystoneError,
    KeystoneService,
    ServiceTerms,
)
from reachthru.controller_server.sinks.base import NotNowError, RefusedError
from reachthru.secret_files import origin, without_secrets

# 4xx that ask for patience, not for another request (RFC 9110, 6585, 8470).
_PATIENCE = frozenset({408, 425, 429})
# A wrong token, role or policy: not the change's fault.
NOT_ALLOWED = frozenset({401, 403})
ANSWER_LIMIT_BYTES = 64 * 1024
_QUOTE_LENGTH = 200
_THEIR_NAMES = {"ca_file": "cafile", "cert_file": "certfile", "key_file": "keyfile"}


def service_options(timeout_s: float = 5.0) -> list[cfg.Opt]:
    """What `ServiceClient` needs of its section: keystoneauth's names, which stand first."""
    return [
        cfg.FloatOpt(
            "timeout", default=timeout_s, min=0.1, max=60.0, help="Seconds that an answer may take."
        ),
        cfg.StrOpt(
            "cafile",
            help="PEM: the authorities that may vouch for the receiver; empty: the machine's.",
        ),
        cfg.StrOpt("certfile", help="PEM: our certificate, where the receiver wants one."),
        cfg.StrOpt("keyfile", help="PEM: its key."),
        cfg.BoolOpt("insecure", default=False, help="Trust any certificate."),
        cfg.StrOpt(
            "endpoint_override",
            help="Where the service is; empty: where Keystone's catalogue has it.",
        ),
    ]


class Answer(Struct, frozen=True):
    """`said` is for errors: who answered, what, and the beginning of its body.

    `next_page` is the URL that its header Link names as `next`.
    """

    status: int
    headers: Mapping[str, str]  # of any case
    body: bytes
    said: str
    next_page: str | None = None

    @property
    def is_yes(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body; None where it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def insist_on_yes(self, patience_for: frozenset[int] = frozenset()) -> None:
        """`patience_for`: more statuses after which to try again. Raises `RefusedError` and
        `NotNowError`.
        """
        if self.is_yes:
            return
        if 400 <= self.status < 500 and self.status not in _PATIENCE | patience_for:
            raise RefusedError(self.said)
        raise NotNowError(self.said)

    def insist_on_no_error_inside(self) -> None:
        """Some say 200, and in the body that it failed. Raises `NotNowError`."""
        found = self.json()
        if isinstance(found, dict) and any(found.get(key) for key in ("error", "faultstring")):
            raise NotNowError(self.said)


class HttpClient:
    """Use as `async with`; one for each sink, which keeps its connections."""

    def __init__(
        self, *, timeout_s: float, tls: ssl.SSLContext, headers: Mapping[str, str] | None = None
    ) -> None:
        self._timeout_s = timeout_s
        self._tls = tls
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"reachthru-controller/{__version__}",
        } | dict(headers or {})

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(self._timeout_s),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def send(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> Answer:
        """Whatever the answer says, cut off at `limit_bytes`.

        Raises aiohttp's `ClientError`, `TimeoutError`.
        """
        async with self._session.request(
            method, url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            said = f"{origin(url)} answered {answer.status} {answer.reason}"
            found = await _beginning(answer.content, limit_bytes)
            next_page = str(answer.links["next"]["url"]) if "next" in answer.links else None
            return Answer(answer.status, answer.headers, found, said + _quoted(found), next_page)


class ServiceClient:
    """A service of OpenStack's: found by Keystone's catalog, asked with Keystone's token.

    `section` of `conf` holds `service_options()` and keystoneauth's, checked with
    `keystone_session.check`; without an auth_type it names its endpoint_override, and no token is
    shown. Raises `CertificateError`.
    """

    def __init__(self, conf: cfg.ConfigOpts, section: str, service_type: str) -> None:
        own = conf[section]
        self.timeout_s: float = own.timeout
        self._http = HttpClient(
            timeout_s=own.timeout,
            tls=_section_tls(own),
            headers={"Accept": "application/json"},
        )
        self._without_keystone = ServiceTerms((own.endpoint_override or "").rstrip("/"), {})
        self._keystone = KeystoneService(conf, section, service_type) if own.auth_type else None

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.__aexit__(*error)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> Answer:
        """Whatever the answer says. `path` follows the service's endpoint; `body` becomes JSON.

        Raises aiohttp's `ClientError`, `TimeoutError`, and `NotNowError` where there is no token.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        send = partial(self._send, method, path, data, headers or {}, limit_bytes=limit_bytes)
        answer = await send(await self._terms(anew=False))
        if answer.status == 401 and self._keystone is not None:
            # The token was revoked, or Keystone's keys were rotated.
            answer = await send(await self._terms(anew=True))
        return answer

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        patience_for: frozenset[int] = frozenset(),
        limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> Answer:
        """`send`, and the answer is a yes. After a status in `patience_for` it is tried again.

        Raises `RefusedError`, too.
        """
        answer = await self.send(method, path, body, headers, limit_bytes=limit_bytes)
        answer.insist_on_yes(NOT_ALLOWED | patience_for)
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        data: bytes,
        headers: Mapping[str, str],
        terms: ServiceTerms,
        *,
        limit_bytes: int,
    ) -> Answer:
        url = terms.endpoint + path
        return await self._http.send(
            method, url, data, {**terms.headers, **headers}, limit_bytes=limit_bytes
        )

    async def _terms(self, *, anew: bool) -> ServiceTerms:
        if self._keystone is None:
            return self._without_keystone
        try:
            return await self._keystone.terms(anew=anew)
        except KeystoneError as error:
            raise NotNowError(str(error)) from error


def _section_tls(section: Any) -> ssl.SSLContext:
    """As keystoneauth's options of `section` say. Raises `CertificateError`."""
    try:
        tls = client_tls(section.cafile or None, section.certfile or None, section.keyfile or None)
    except CertificateError as error:
        said = str(error)
        for ours, theirs in _THEIR_NAMES.items():
            said = said.replace(f"{ours} = ", f"{theirs} = ")
        raise CertificateError(said) from error
    if section.insecure:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


async def _beginning(content: aiohttp.StreamReader, limit_bytes: int) -> bytes:
    found = bytearray()
    while len(found) < limit_bytes:
        part = await content.read(limit_bytes - len(found))
        if not part:
            break
        found += part
    return bytes(found)


def _quoted(body: bytes) -> str:
    """`body` for an error of one line: its first words, without what could be secret."""
    text = " ".join(body[: _QUOTE_LENGTH * 4].decode(errors="replace").split())
    shown = "".join(character for character in text if character.isprintable())
    if len(shown) > _QUOTE_LENGTH:
        shown = f"{shown[: _QUOTE_LENGTH - 3]}..."
    return f": {without_secrets(shown)}" if shown else ""
