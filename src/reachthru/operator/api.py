"""The controller's REST API, read with the standard library: a command must start fast."""

import argparse
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8780"
TIMEOUT_S = 10.0
# The controller says something at least every 15 s.
SILENCE_LIMIT_S = 45.0


class ApiError(Exception):
    """The controller can't be asked, or said no; one line for the operator. Exit with 1."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that asks a controller."""
    parser.add_argument(
        "--url",
        type=_url,
        default=os.environ.get("REACHTHRU_URL", DEFAULT_URL),
        help=f"the controller (default: $REACHTHRU_URL or {DEFAULT_URL})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def get(url: str, path: str, **query: str | None) -> Any:
    """The JSON that `path` answers; parameters that are None are left out."""
    given = {name: value for name, value in query.items() if value is not None}
    full = f"{url}{path}" + (f"?{urllib.parse.urlencode(given)}" if given else "")
    with _open(full, TIMEOUT_S) as answer:
        try:
            return json.load(answer)
        except (ValueError, OSError, http.client.HTTPException) as error:
            raise ApiError(f"{full}: not the answer of a controller: {error}") from error


def follow(url: str) -> Iterator[tuple[str, Any]]:
    """(kind, object) of each event from now on; ends with `ApiError` when the controller goes."""
    full = f"{url}/v1/events"
    with _open(full, SILENCE_LIMIT_S) as answer:
        kind = ""
        yield "following", None
        try:
            for raw in answer:
                name, _, value = raw.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)
        except (ValueError, OSError, http.client.HTTPException) as error:
            raise ApiError(f"{full}: {error}") from error
    raise ApiError(f"{full}: the controller ended the stream")


def _open(url: str, timeout_s: float) -> Any:
    try:
        return urllib.request.urlopen(url, timeout=timeout_s)  # noqa: S310  (_url: http only)
    except urllib.error.HTTPError as error:
        raise ApiError(f"{url}: {_said(error)}") from error
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise ApiError(f"{url}: {reason}; is the controller running there?") from error
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(f"{url}: {error}") from error


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.code} {error.reason}"


def _url(text: str) -> str:
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not http://host[:port]")
    return text.rstrip("/")
