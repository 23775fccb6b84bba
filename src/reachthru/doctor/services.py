"""Services of others that a controller asks: Keystone, Nova, and whom its sinks tell."""

import asyncio
import json
import socket
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from oslo_config import cfg

from reachthru.bus import BusDoor, BusUnavailableError, BusUrlError, DoorError
from reachthru.bus.probe import probe
from reachthru.certificates import CertificateError, client_tls
from reachthru.controller_server.keystone_session import KeystoneError, KeystoneService
from reachthru.controller_server.rest.keystone import KeystoneSettings
from reachthru.findings import Finding, ok, wrong
from reachthru.secret_files import shown_url

CONNECT_TIMEOUT_S = 5.0
ANSWER_LIMIT_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}
# Where a sink's section may say whom it talks to; the first that is set counts.
_SINK_URLS = ("url", "endpoint_override", "auth_url")


def keystone(settings: KeystoneSettings) -> Finding:
    """[api]: who asks REST brings tokens of it. We have no user there."""
    try:
        version = _keystone_version(settings)
    except (OSError, ValueError, KeyError, TypeError, CertificateError) as error:
        remedy = "put [api] keystone_url right; until then nobody with a token of it is let in"
        return wrong("Keystone", f"{settings.url}: {_reason(error)}", remedy)
    return ok("Keystone", f"{settings.url} answers: {version}")


def _keystone_version(settings: KeystoneSettings) -> str:
    url = f"{settings.url.rstrip('/').removesuffix('/v3')}/v3"
    handlers: list[urllib.request.BaseHandler] = []
    if url.startswith("https:"):
        tls = client_tls(settings.ca_file, None, None)
        handlers.append(urllib.request.HTTPSHandler(context=tls))
    opener = urllib.request.build_opener(*handlers)
    with opener.open(url, timeout=CONNECT_TIMEOUT_S) as answer:
        return str(json.loads(answer.read(ANSWER_LIMIT_BYTES))["version"]["id"])


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code} {error.reason}, which no Keystone does"
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason).lower()
    if isinstance(error, OSError | CertificateError):
        return getattr(error, "strerror", None) or str(error)
    return "what answers there is no Keystone"


def nova(conf: cfg.ConfigOpts) -> Finding:
    """[nova]: may we read the groups and servers of all projects?"""
    # It brings openstacksdk, which is there where [nova] is.
    from reachthru.controller_server.nova.api import (  # noqa: PLC0415
        NovaApi,
        NovaForbiddenError,
        NovaUnavailableError,
    )

    try:
        endpoint = asyncio.run(KeystoneService(conf, "nova", "compute").terms()).endpoint
    except KeystoneError as error:
        return wrong("Nova", str(error), "put [nova] right; groups are as they were known")
    shown = shown_url(endpoint)
    trouble = connect_trouble(endpoint)
    if trouble is not None:
        remedy = "is Nova's API up? [nova] endpoint_override may name another URL"
        return wrong("Nova", f"{shown}: {trouble}", remedy)
    try:
        NovaApi(conf).try_reading()
    except NovaForbiddenError as error:
        remedy = "give [nova]'s user the role admin: groups are of all projects"
        return wrong("Nova", f"{shown}: {error}", remedy)
    except NovaUnavailableError as error:
        remedy = "is that Nova's API, and well? Its log says more"
        return wrong("Nova", f"{shown}: {error}", remedy)
    return ok("Nova", f"{shown} answers, and shows all projects' groups and servers")


def nova_news(url: str) -> Finding | None:
    """[nova] notifications_url; None: only oslo.messaging knows what follows its question mark."""
    parts = urlsplit(url)
    if parts.scheme != "rabbit" or parts.query:
        return None
    shown = shown_url(url)
    try:
        what = asyncio.run(probe(url, BusDoor()))
    except (BusUrlError, DoorError, BusUnavailableError) as error:
        remedy = "put [nova] notifications_url right; groups are read by Nova's API meanwhile"
        return wrong("Nova's news", f"{shown}: {error}", remedy)
    return ok("Nova's news", f"{shown} takes us: {what}")


def sink_url(conf: cfg.ConfigOpts, sink: str) -> str:
    """Whom it tells, or else who says where that is; "": neither has an address of HTTP."""
    section: Any = getattr(conf, f"sink_{sink}", None)
    for name in _SINK_URLS:
        value = section.get(name) if section is not None else None
        if isinstance(value, str) and urlsplit(value).scheme in _PORTS:
            return value
    return ""


def connect_trouble(url: str) -> str | None:
    """Why nobody is reached there; None: somebody is."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT_S).close()
    except TimeoutError:
        return f"no answer within {CONNECT_TIMEOUT_S:g} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
