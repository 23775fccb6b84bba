"""HTTP as all sinks speak it: bounded in time and size, and an answer is a yes or one of two noes.

2xx is a yes. 4xx is a no for ever, but for those that ask for patience, and for what an operator
may put right meanwhile: who we are, and what we may (`ServiceClient`). Anything else may be a yes
later; a redirect, too, is a no: nobody may lead faults elsewhere.
"""

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from msgspec import Struct
from oslo_config import cfg

from reachthru import __version__
from reachthru.certificates import client_tls
from reachthru.controller_server.keystone_session import KeystoneError, KeystoneService
from reachthru.controller_server.sinks.base import NotNowError, RefusedError
from reachthru.secret_files import origin, without_secrets

# 4xx that ask for patience, not for another request (RFC 9110, 6585, 8470).
_PATIENCE = frozenset({408, 425, 429})
# A wrong token, role or policy: not the change's fault.
_NOT_ALLOWED = frozenset({401, 403})
ANSWER_LIMIT_BYTES = 64 * 1024  # what is longer is cut off there
_QUOTE_LENGTH = 200


class Answer(Struct, frozen=True):
    """`said` is for errors: who answered, what, and the beginning of its body."""

    status: int
    body: bytes
    said: str

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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Whatever the answer says. Raises aiohttp's `ClientError`, `TimeoutError`."""
        async with self._session.request(
            method, url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            said = f"{origin(url)} answered {answer.status} {answer.reason}"
            found = await _beginning(answer.content)
            return Answer(answer.status, found, said + _quoted(found))


class ServiceClient:
    """A service of OpenStack's: found by Keystone's catalog, asked with Keystone's token.

    `section` of `conf` holds keystoneauth's options, checked with `keystone_session.check`.
    """

    def __init__(self, conf: cfg.ConfigOpts, section: str, service_type: str) -> None:
        own = conf[section]
        self.timeout_s: float = own.timeout
        self._http = HttpClient(timeout_s=own.timeout, tls=section_tls(own))
        self._keystone = KeystoneService(conf, section, service_type)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._keystone.close()
        await self._http.__aexit__(kind, error, traceback)

    async def send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """`path` follows the service's endpoint; `body` becomes JSON.

        Raises aiohttp's `ClientError`, `TimeoutError`, and `NotNowError` where there is no token.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        answer = await self._send(method, path, data, headers or {}, anew=False)
        if answer.status == 401:  # the token was revoked, or Keystone's keys were rotated
            answer = await self._send(method, path, data, headers or {}, anew=True)
        return answer

    async def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """`send`, where only a yes will do. Raises `RefusedError`, too."""
        answer = await self.send(method, path, body, headers)
        answer.insist_on_yes(_NOT_ALLOWED)
        return answer

    async def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], *, anew: bool
    ) -> Answer:
        try:
            terms = await self._keystone.terms(anew=anew)
        except KeystoneError as error:
            raise NotNowError(str(error)) from error
        return await self._http.send(
            method, terms.endpoint + path, body, {**terms.headers, **headers}
        )


def section_tls(section: Any) -> ssl.SSLContext:
    """As keystoneauth's options of `section` say. Raises `CertificateError`."""
    tls = client_tls(section.cafile or None, section.certfile or None, section.keyfile or None)
    if section.insecure:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    found = bytearray()
    while len(found) < ANSWER_LIMIT_BYTES:
        part = await content.read(ANSWER_LIMIT_BYTES - len(found))
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
