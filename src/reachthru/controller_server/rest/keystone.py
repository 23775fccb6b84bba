"""Keystone's tokens (Identity API v3).

Whoever holds a token may ask Keystone about it with that same token (rule `token_subject` of its
policy), so the controller needs no account of its own there, and no password.
https://docs.openstack.org/api-ref/identity/v3/#validate-and-show-information-for-token
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

import aiohttp
import msgspec
from msgspec import Struct

from reachthru.certificates import client_tls
from reachthru.controller_server.rest.door import Caller, CheckUnavailableError, Role

# What Keystone said is believed so long: a token that was revoked lets in no longer than this.
FRESH_S = 60.0
# And so long while Keystone is away, for tokens that have not expired.
STALE_LIMIT_S = 600.0
# Keystone that did not answer is left alone so long; nobody waits for it twice.
AWAY_PAUSE_S = 2.0
TIMEOUT_S = 5.0
CACHE_LIMIT = 1000  # tokens
CONNECTIONS_LIMIT = 8

_log = logging.getLogger(__name__)


class KeystoneSettings(Struct, frozen=True, kw_only=True):
    """`url`: with or without /v3. `reader_projects`: ids."""

    url: str
    ca_file: str | None
    reader_roles: frozenset[str]
    admin_roles: frozenset[str]
    reader_projects: frozenset[str]


class _Named(Struct):
    id: str
    name: str = ""


class _Token(Struct):
    expires_at: datetime
    user: _Named
    roles: list[_Named] = []
    project: _Named | None = None
    system: dict[str, bool] | None = None


class _Answer(Struct):
    token: _Token


class _Known(Struct, frozen=True):
    """What Keystone said, and when, by the monotonic clock."""

    caller: Caller | None
    asked_at: float


class Keystone:
    """Use as `async with`. Raises `CertificateError` where `ca_file` can't be used."""

    def __init__(
        self, settings: KeystoneSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        base = settings.url.rstrip("/").removesuffix("/v3")
        self.challenge = f'Keystone uri="{base}/v3"'
        self._settings = settings
        self._url = f"{base}/v3/auth/tokens?nocatalog=true"
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}
        self._away_until = float("-inf")
        self._away = False
        self._tls = client_tls(settings.ca_file, None, None)

    async def __aenter__(self) -> "Keystone":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=CONNECTIONS_LIMIT),
            timeout=aiohttp.ClientTimeout(TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._session.close()

    async def caller(self, token: str) -> Caller | None:
        if not (token.isascii() and token.isprintable()):
            return None  # no token of Keystone's, and none that a header could carry on
        key = hashlib.sha256(token.encode()).digest()
        known = self._known.get(key)
        now = self._clock()
        if known is not None and (now - known.asked_at < FRESH_S or _expired(known.caller)):
            self._known.move_to_end(key)
            return None if _expired(known.caller) else known.caller
        try:
            caller = await self._asked_once(key, token)
        except CheckUnavailableError:
            if known is None or known.caller is None or now - known.asked_at > STALE_LIMIT_S:
                raise
            return known.caller
        return None if _expired(caller) else caller

    async def _asked_once(self, key: bytes, token: str) -> Caller | None:
        """Whoever brings the same token meanwhile waits for the same answer."""
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key, token))
            asking.add_done_callback(lambda _task: self._asking.pop(key))
        # One that waits may go; the others still wait.
        return await asyncio.shield(asking)

    async def _ask(self, key: bytes, token: str) -> Caller | None:
        if self._clock() < self._away_until:
            raise CheckUnavailableError("Keystone does not answer; try again later")
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        try:
            async with self._session.get(
                self._url, headers=headers, allow_redirects=False
            ) as answer:
                caller = self._read(answer.status, await answer.read())
        except (
            aiohttp.ClientError,
            TimeoutError,
            msgspec.MsgspecError,
            _UnusableError,
        ) as error:
            self._away_until = self._clock() + AWAY_PAUSE_S
            if not self._away:
                self._away = True
                why = str(error) or type(error).__name__
                _log.error("Keystone at %s: %s; known tokens go on", self._settings.url, why)
            raise CheckUnavailableError("Keystone does not answer; try again later") from error
        if self._away:
            self._away = False
            _log.warning("Keystone at %s answers again", self._settings.url)
        self._known[key] = _Known(caller, self._clock())
        self._known.move_to_end(key)
        if len(self._known) > CACHE_LIMIT:
            self._known.popitem(last=False)
        return caller

    def _read(self, status: int, body: bytes) -> Caller | None:
        if status in (401, 404):
            return None
        if status == 403:
            # Whoever changed `identity:validate_token` in Keystone's policy must hear why.
            _log.error("Keystone lets nobody ask about a token of his own (token_subject)")
            return None
        if status != 200:
            raise _UnusableError(f"it answered {status}")
        return self._judge(msgspec.json.decode(body, type=_Answer).token)

    def _judge(self, token: _Token) -> Caller:
        """Every tenant may have the role reader in a project of his own: there it says nothing of
        the cloud. Admin is the cloud's in any project, as for Nova and Keystone.
        """
        roles = {role.name for role in token.roles}
        of_the_cloud = bool(token.system and token.system.get("all")) or (
            token.project is not None and token.project.id in self._settings.reader_projects
        )
        role = Role.NOBODY
        if roles & self._settings.admin_roles:
            role = Role.ADMIN
        elif of_the_cloud and roles & self._settings.reader_roles:
            role = Role.READER
        name = f"Keystone's user {token.user.id}"
        return Caller(name=name, role=role, expires_at=token.expires_at.timestamp())


class _UnusableError(Exception):
    """Keystone answered what says neither yes nor no."""


def _expired(caller: Caller | None) -> bool:
    return caller is not None and caller.expires_at is not None and caller.expires_at <= time.time()
