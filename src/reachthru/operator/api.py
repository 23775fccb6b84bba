"""The controller's REST API, with the standard library: a command must start fast."""

import argparse
import http.client
import importlib
import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reachthru.certificates import CertificateError, client_tls
from reachthru.secret_files import SecretFileError, read_secrets

DEFAULT_URL = "http://127.0.0.1:8780"
TIMEOUT_S = 10.0
# The controller says something at least every 15 s.
SILENCE_LIMIT_S = 45.0


class ApiError(Exception):
    """The controller can't be asked, or said no; one line for the operator. Exit with 1.

    `final`: it said no, and would say so again.
    """

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that asks a controller."""
    parser.add_argument(
        "--url",
        type=_url,
        default=os.environ.get("REACHTHRU_URL", DEFAULT_URL),
        help=f"the controller (default: $REACHTHRU_URL or {DEFAULT_URL})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    for name, what in (
        ("token", "a token for the controller"),
        ("ca", "the authorities that vouch for the controller, PEM"),
        ("cert", "our certificate, where the controller wants one, PEM"),
        ("key", "its key"),
    ):
        variable = f"REACHTHRU_{name.upper()}_FILE"
        parser.add_argument(
            f"--{name}-file",
            metavar="F",
            default=os.environ.get(variable) or None,
            help=f"{what} (default: ${variable})",
        )
    parser.add_argument(
        "--os-cloud",
        metavar="NAME",
        help="where the controller wants Keystone's token: this cloud of clouds.yaml gives one "
        "(default: $OS_CLOUD, or the other $OS_... variables)",
    )


class Api:
    """The controller that a command's options name. Every method raises `ApiError`."""

    def __init__(self, args: argparse.Namespace, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._url: str = args.url
        self._cloud: str | None = args.os_cloud
        try:
            self._token = read_secrets(Path(args.token_file))[0] if args.token_file else None
            handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
            if self._url.startswith("https:"):
                tls = client_tls(args.ca_file, args.cert_file, args.key_file)
                handlers.append(urllib.request.HTTPSHandler(context=tls))
        except (SecretFileError, CertificateError) as error:
            raise ApiError(str(error)) from error
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, **query: str | None) -> Any:
        """The JSON that `path` answers; parameters that are None are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        full = f"{self._url}{path}" + (f"?{urllib.parse.urlencode(given)}" if given else "")
        return self._answer(full, "GET")

    def delete(self, path: str) -> Any:
        """The JSON that it answers; it needs the admin's role."""
        return self._answer(f"{self._url}{path}", "DELETE")

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON that it answers; it needs the admin's role."""
        return self._answer(f"{self._url}{path}", "POST", json.dumps(body).encode())

    def follow(self) -> Iterator[tuple[str, Any]]:
        """(kind, object) of each event from now on; ends with `ApiError` when the controller goes.

        The first one is ("following", None).
        """
        full = f"{self._url}/v1/events"
        with self._open(full, SILENCE_LIMIT_S) as answer:
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

    def _answer(self, url: str, method: str, body: bytes | None = None) -> Any:
        with self._open(url, self._timeout_s, method, body) as answer:
            try:
                return json.load(answer)
            except (ValueError, OSError, http.client.HTTPException) as error:
                raise ApiError(f"{url}: not the answer of a controller: {error}") from error

    def _open(
        self, url: str, timeout_s: float, method: str = "GET", body: bytes | None = None
    ) -> Any:
        try:
            return self._request(url, timeout_s, method, body)
        except urllib.error.HTTPError as error:
            if error.code != 401 or self._token is not None:
                raise _refusal(url, error) from error
            challenge = error.headers.get("WWW-Authenticate", "")
        if "Keystone" not in challenge:
            text = "this needs a token; --token-file names a file with one"
            raise ApiError(f"{url}: {text}", final=True)
        # Only now: who asks an open controller need not wait for Keystone.
        self._token = _keystone_token(url, self._cloud)
        try:
            return self._request(url, timeout_s, method, body)
        except urllib.error.HTTPError as error:
            raise _refusal(url, error) from error

    def _request(self, url: str, timeout_s: float, method: str, body: bytes | None) -> Any:
        """Raises `HTTPError`, and `ApiError` for whatever else may be wrong."""
        request = urllib.request.Request(url, body, method=method)  # noqa: S310  (_url: http and https only)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._token is not None:
            request.add_unredirected_header("X-Auth-Token", self._token)
        try:
            return self._opener.open(request, timeout=timeout_s)
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError as error:
            raise ApiError(f"{url}: {_unreachable(url, error.reason)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError(f"{url}: {_unreachable(url, error)}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A controller sends nobody elsewhere, and nobody else may have the token."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


def _keystone_token(url: str, cloud: str | None) -> str:
    if not (cloud or os.environ.get("OS_CLOUD") or os.environ.get("OS_AUTH_URL")):
        raise ApiError(
            f"{url}: this needs a token of Keystone's: --os-cloud names a cloud of clouds.yaml, "
            "or set the $OS_... variables; or --token-file names a file with a token"
        )
    # It brings openstacksdk: not small, and only needed here.
    token: str = importlib.import_module("reachthru.operator.keystone").token(cloud)
    return token


def _unreachable(url: str, reason: Any) -> str:
    """Why there is no conversation, and what to do about it."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {reason.verify_message}; "
            "--ca-file names the authorities that vouch for it"
        )
    if isinstance(reason, ssl.SSLError):
        code = reason.reason or str(reason)
        if "WRONG_VERSION_NUMBER" in code or "RECORD_LAYER" in code:
            return "it does not speak TLS; is it http://...?"
        return code.replace("_", " ").lower()
    if isinstance(reason, ConnectionError) and not isinstance(reason, ConnectionRefusedError):
        if url.startswith("http:"):
            return "it ended the conversation; is it https://...?"
        # asyncio's server goes without a word where a client's certificate is missing or wrong.
        return (
            "it ended the conversation; does it want a certificate of its authority? "
            "--cert-file and --key-file"
        )
    text = getattr(reason, "strerror", None) or reason
    return f"{text}; is the controller running there? --url or $REACHTHRU_URL names another one"


def _refusal(url: str, error: urllib.error.HTTPError) -> ApiError:
    return ApiError(f"{url}: {_said(error)}", final=error.code < 500)


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.code} {error.reason}"


def _url(text: str) -> str:
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise argparse.ArgumentTypeError(f"{text!r} is not http[s]://host[:port]")
    return text.rstrip("/")
