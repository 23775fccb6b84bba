"""GET /metrics of the host agent: Prometheus' own small server, on a thread of its own.

What it serves is read on the event loop, so an agent whose loop does not turn is down for
Prometheus as well. This module and Prometheus' library are imported where metrics are asked for.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Protocol

from prometheus_client import start_http_server
from prometheus_client.core import Metric

from reachthru.certificates import CertificateError, load_certificate, trust
from reachthru.host_agent.settings import MetricsSettings
from reachthru.host_agent.start_error import StartError
from reachthru.telemetry.exposition import new_registry

READ_LIMIT_S = 5.0  # Prometheus waits for 10 s


class Source(Protocol):
    async def families(self) -> list[Metric]: ...


@contextlib.asynccontextmanager
async def metrics_door(settings: MetricsSettings, source: Source) -> AsyncIterator[int]:
    """Serves until it is left; gives the port. Raises `StartError`."""
    registry = new_registry()
    registry.register(_OnLoop(source, asyncio.get_running_loop()))
    _check_certificates(settings)
    try:
        server, _thread = start_http_server(
            settings.port,
            settings.host,
            registry,
            certfile=_text(settings.cert_file),
            keyfile=_text(settings.key_file or settings.cert_file),
            client_cafile=_text(settings.client_ca_file),
            client_auth_required=settings.client_ca_file is not None,
        )
    except OSError as error:
        raise StartError(
            f"[metrics] listen = {settings.host}:{settings.port}: {error.strerror}"
        ) from error
    try:
        yield server.server_port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _OnLoop:
    """The source as a collector that other threads may ask."""

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    def describe(self) -> Iterable[Metric]:
        """Nothing: or the registry would ask for everything when this is registered."""
        return ()

    def collect(self) -> Iterable[Metric]:
        reading = asyncio.run_coroutine_threadsafe(self._source.families(), self._loop)
        return reading.result(READ_LIMIT_S)


def _check_certificates(settings: MetricsSettings) -> None:
    if settings.cert_file is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_certificate(context, settings.cert_file, settings.key_file)
        if settings.client_ca_file is not None:
            trust(context, settings.client_ca_file)
    except CertificateError as error:
        raise StartError(f"[metrics] tls_{error}") from error


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
