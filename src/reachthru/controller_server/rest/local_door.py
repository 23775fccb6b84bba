"""Where nobody is asked for a token: this machine's programs may ask, no web page of elsewhere.

A browser on this machine opens connections for whatever page it shows. What such a page can't do
is choose the headers by which it is known here:

- `Host` is the name that the browser was given. A page whose name was made to point to this
  machine (DNS rebinding) is of the same origin as we are for the browser, and shows in no other
  header: so we answer to our own names only.
- `Sec-Fetch-Site` and `Origin` say whose page changes something, under whatever name it asks. The
  rule is that of Go's net/http CrossOriginProtection. Reading needs none: no answer of ours lets
  another origin see it.

What is no browser sends neither `Sec-Fetch-Site` nor `Origin`, and is let in.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers.base import BaseRouteHandler

from reachthru.controller_server.rest.door import READING_METHODS, asked_for, method_of
from reachthru.controller_server.rest.refusals import Refusals

HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]*)?", re.IGNORECASE)
SHOWN_LIMIT = 100  # characters of a name, in a log
_Connection = ASGIConnection[Any, Any, Any, Any]


class LocalDoor:
    """A guard of the application. `names`: more than this machine's own, in small letters."""

    def __init__(self, names: Collection[str], refusals: Refusals) -> None:
        self._names = frozenset(names)
        self._refusals = refusals

    async def guard(self, connection: _Connection, _handler: BaseRouteHandler) -> None:
        """Raises `HTTPException`: 421 for a name that is not ours, 403 for another's page."""
        # HTTP/1.0 needs no Host; a browser always sends it.
        for host in connection.headers.getall("host", []):
            if not self._is_ours(host):
                what = (
                    f"asked as {_shown(host)}: with [api] auth = none this controller answers as "
                    "localhost, 127.0.0.1 and what [api] allowed_hosts names"
                )
                raise self._refusal(connection, 421, "host", what)
        if method_of(connection) not in READING_METHODS and not _is_of_ours(connection):
            site = _shown(connection.headers.get("origin", "another site"))
            what = f"a page of {site} may not change anything here"
            raise self._refusal(connection, 403, "origin", what)

    def _is_ours(self, host: str) -> bool:
        found = HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].lower().rstrip(".")
        return name == "localhost" or name in self._names or _is_loopback(name)

    def _refusal(
        self, connection: _Connection, status_code: int, reason: str, what: str
    ) -> HTTPException:
        asked, peer = asked_for(connection)
        self._refusals.add(reason, asked, peer, f"{status_code}, {what}")
        return HTTPException(what, status_code=status_code)


def _is_of_ours(connection: _Connection) -> bool:
    """Whether it was no page that asked, or one of ours."""
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = connection.headers.get("origin")
    if origin is None:
        return True
    return origin.partition("://")[2].lower() == connection.headers.get("host", "").lower()


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _shown(text: str) -> str:
    """In one line of a log, whatever was sent."""
    return ascii(text[:SHOWN_LIMIT])
