"""Who may ask: every call needs the reader's role, and what changes something the admin's.

A token comes as `Authorization: Bearer ...` or `X-Auth-Token: ...`. Refused is 401 (no token, or a
wrong one), 403 (its role is not enough), 503 (nobody could say whether it is right).
"""

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers.base import BaseRouteHandler
from msgspec import Struct

from reachthru.controller_server.rest.refusals import Refusals

# In a handler's `opt`: the call needs no token.
OPEN = "open"
# How soon a stream ends whose token was taken back. One that expires ends it at once.
RECHECK_INTERVAL_S = 15.0
TOKEN_LIMIT = 4096  # characters
READING_METHODS = ("GET", "HEAD", "OPTIONS")
_Connection = ASGIConnection[Any, Any, Any, Any]


class Role(enum.IntEnum):
    """Each may do what the one before it may."""

    NOBODY = 0
    READER = 1
    ADMIN = 2


class Caller(Struct, frozen=True):
    """Whose token it is. `expires_at`: seconds of the wall clock; None: it does not expire."""

    name: str
    role: Role
    expires_at: float | None = None


class CheckUnavailableError(Exception):
    """Nobody can say now whose token it is; one line for the operator."""


class Check(Protocol):
    """One way to know a token. `challenge` is what a 401 says of it (RFC 9110, 11.6.1)."""

    challenge: str

    async def caller(self, token: str) -> Caller | None:
        """None: the token is none of its. Raises `CheckUnavailableError`."""


class Guarded(Protocol):
    """A door of the application: every call passes its guard, which raises `HTTPException`."""

    async def guard(self, connection: _Connection, handler: BaseRouteHandler, /) -> None: ...


class Visitor:
    """A caller that was let in, for a call that goes on and on."""

    def __init__(self, check: Callable[[], Awaitable[Caller | None]], caller: Caller) -> None:
        self._check = check
        self._caller = caller

    @property
    def name(self) -> str:
        return self._caller.name

    async def until_unwelcome(self) -> None:
        """Returns when the token has expired or does not let in any more."""
        caller: Caller | None = self._caller
        while caller is not None:
            rest_s = RECHECK_INTERVAL_S
            if caller.expires_at is not None:
                rest_s = min(rest_s, caller.expires_at - time.time())
            await asyncio.sleep(max(0.0, rest_s))
            caller = await self._check()


class Door:
    """A guard of the application: whoever is in a call of it has shown a token of `checks`."""

    def __init__(self, checks: Sequence[Check], refusals: Refusals) -> None:
        self._checks = checks
        self._refusals = refusals

    async def guard(self, connection: _Connection, handler: BaseRouteHandler) -> None:
        """Raises `HTTPException`. Leaves a `Visitor` in the scope's "user"."""
        if handler.opt.get(OPEN):
            return
        needed = Role.READER if method_of(connection) in READING_METHODS else Role.ADMIN
        token = presented(connection.headers)
        if token is None:
            raise self._refusal(connection, 401, "missing", "this needs a token")
        try:
            caller = await self._caller(token)
        except CheckUnavailableError as error:
            raise self._refusal(connection, 503, "unavailable", str(error)) from error
        if caller is None:
            raise self._refusal(connection, 401, "wrong", "the token is wrong or has expired")
        if caller.role < needed:
            what = f"this needs the role {needed.name.lower()}, and {caller.name} has it not"
            raise self._refusal(connection, 403, "forbidden", what)

        async def again() -> Caller | None:
            try:
                found = await self._caller(token)
            except CheckUnavailableError:
                return None
            return found if found is not None and found.role >= needed else None

        connection.scope["user"] = Visitor(again, caller)

    async def _caller(self, token: str) -> Caller | None:
        """The first check that knows it. One that can't tell now spoils nothing for the others."""
        if len(token) > TOKEN_LIMIT or not token.isascii() or not token.isprintable():
            return None
        for check in self._checks:
            caller = await check.caller(token)
            if caller is not None:
                return caller
        return None

    def _refusal(
        self, connection: _Connection, status_code: int, reason: str, what: str
    ) -> HTTPException:
        asked, peer = asked_for(connection)
        self._refusals.add(reason, asked, peer, f"{status_code}, {what}")
        headers = {}
        if status_code == 401:
            headers["WWW-Authenticate"] = ", ".join(check.challenge for check in self._checks)
        return HTTPException(what, status_code=status_code, headers=headers)


def asked_for(connection: _Connection) -> tuple[str, str]:
    """(method and path, the peer's address), for a line of the log."""
    # As it was sent: a path that is decoded could hold a line of a log.
    path = connection.scope["raw_path"].decode("ascii", "replace")
    peer = connection.client.host if connection.client else "somebody"
    return f"{method_of(connection)} {path}", peer


def method_of(connection: _Connection) -> str:
    scope: Mapping[str, Any] = connection.scope
    return str(scope.get("method", ""))


def presented(headers: Mapping[str, str]) -> str | None:
    """The token that a request brings."""
    scheme, _space, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-auth-token") or None
