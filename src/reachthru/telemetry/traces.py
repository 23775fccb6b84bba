"""One trace a fault, over both daemons, by OpenTelemetry: only where `[tracing]` names a collector.

Nothing is carried for it: the trace's id is the fault's (a UUID has just as many bits), and the
id of the span that stands for a change, under which its stages are, follows from the fault's id
and the change's status. So agents and controllers of any version fit together, and what is told
twice is the same trace. This module imports nothing of OpenTelemetry's: otlp.py does.
"""

import hashlib
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct
from oslo_config import cfg

from reachthru.secret_files import shown_url

_TRACES_PATH = "/v1/traces"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "otlp_endpoint",
        default="",
        help="http[s]://host:4318 of an OpenTelemetry collector (OTLP over HTTP); empty: no"
        " traces. OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_CERTIFICATE count.",
    ),
]


class TracingError(Exception):
    """Traces are wanted and can't be made; one line for the operator."""


class Traced(Protocol):
    """A fault change, as the agents' bus and the controller's model have it."""

    @property
    def status(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def instance_uuid(self) -> str: ...
    @property
    def host(self) -> str: ...


class Stage(Struct, frozen=True, kw_only=True):
    """One stage of a fault's way; wall-clock nanoseconds. `kind`: OpenTelemetry's SpanKind."""

    name: str
    began_ns: int
    ended_ns: int
    kind: str = "INTERNAL"
    attributes: Mapping[str, str | int] = {}
    error: str | None = None


class Tracer(Protocol):
    """Made once a process. On the event loop, and never waits for anybody."""

    def change(self, fault_id: str, change: Traced, began_ns: int, ended_ns: int) -> None:
        """The change itself, under which its stages are. A clear is under its raise."""

    def stage(self, fault_id: str, change: Traced, stage: Stage) -> None: ...

    def close(self) -> None:
        """What waits is sent, if that takes no longer than a moment."""


def make_tracer(service: str, endpoint: str, host: str) -> Tracer | None:
    """None where traces are off. Raises `TracingError`."""
    if not endpoint:
        return None
    url = _traces_url(endpoint)
    try:
        from reachthru.telemetry.otlp import OtlpTracer  # noqa: PLC0415
    except ImportError as error:
        raise TracingError(
            f"[tracing] otlp_endpoint needs OpenTelemetry's library ({error.name}):"
            " pip install 'reachthru[tracing]'"
        ) from error
    return OtlpTracer(service, url, host)


def _traces_url(endpoint: str) -> str:
    """OTLP over HTTP has a path of its own; one that is written out counts."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TracingError(
            f"[tracing] otlp_endpoint = {shown_url(endpoint)}: must be http[s]://host:port"
        )
    return endpoint if parts.path.strip("/") else endpoint.rstrip("/") + _TRACES_PATH


# --- ids and times ---------------------------------------------------------------------------


def trace_id_of(fault_id: str) -> int:
    """128 bits, not 0."""
    try:
        return uuid.UUID(fault_id).int or 1
    except ValueError:
        return int.from_bytes(hashlib.sha256(fault_id.encode()).digest()[:16]) or 1


def span_id_of(*words: str) -> int:
    """64 bits, not 0. A change's is that of its fault's id and its status."""
    return int.from_bytes(hashlib.sha256("\n".join(words).encode()).digest()[:8]) or 1


def now_ns() -> int:
    """Of the wall clock: spans of several machines are put beside each other."""
    return time.time_ns()


def ns_of(moment: datetime) -> int:
    """As `now_ns`, to the microsecond that `moment` has."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def attributes_of_bus(url: str, operation: str) -> dict[str, str | int]:
    """OpenTelemetry's semantic conventions for messaging. `operation`: send or process."""
    system = "rabbitmq" if url.startswith("rabbit") else urlsplit(url).scheme.removesuffix("s")
    return {
        "messaging.system": system,
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": "faults",
    }
