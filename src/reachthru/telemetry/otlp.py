"""Spans by OpenTelemetry's library, which only this module imports.

They wait in bounded memory for a thread of the library's; a collector that is away or slow costs
spans, and is said once.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from reachthru import __version__
from reachthru.secret_files import origin
from reachthru.telemetry.traces import Stage, Traced, span_id_of, trace_id_of

EXPORT_LIMIT_S = 5.0
EXPORT_EVERY_MS = 1000
CLOSE_LIMIT_S = 1.0
TEXT_LIMIT_CHARS = 1024  # an attribute may hold a guest's words

_log = logging.getLogger(__name__)


class OtlpTracer:
    """See `Tracer`. `url`: where spans are posted to."""

    def __init__(self, service: str, url: str, host: str) -> None:
        # The library would log each failure with a traceback.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._ids = _GivenIds()
        exporter = _Patient(OTLPSpanExporter(url, timeout=EXPORT_LIMIT_S), origin(url))
        self._provider = TracerProvider(
            resource=Resource.create(
                {
                    "service.name": service,
                    "service.version": __version__,
                    "service.instance.id": f"{host}-{os.getpid()}",
                    "host.name": host,
                }
            ),
            id_generator=self._ids,
            span_limits=SpanLimits(max_span_attribute_length=TEXT_LIMIT_CHARS),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_EVERY_MS)
        )
        self._tracer = self._provider.get_tracer("reachthru", __version__)

    def change(self, fault_id: str, change: Traced, began_ns: int, ended_ns: int) -> None:
        self._ids.span_id = span_id_of(fault_id, change.status)
        name = f"{change.kind} {change.status}"
        above = None if change.status == "raised" else _within(fault_id, "raised")
        stage = Stage(name=name, began_ns=began_ns, ended_ns=ended_ns)
        self._end(fault_id, change, stage, above)

    def stage(self, fault_id: str, change: Traced, stage: Stage) -> None:
        self._ids.span_id = span_id_of(fault_id, change.status, stage.name, str(stage.began_ns))
        self._end(fault_id, change, stage, _within(fault_id, change.status))

    def close(self) -> None:
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_LIMIT_S)

    def _end(self, fault_id: str, change: Traced, stage: Stage, above: Context | None) -> None:
        self._ids.trace_id = trace_id_of(fault_id)
        span = self._tracer.start_span(
            stage.name,
            context=above if above is not None else Context(),
            kind=SpanKind[stage.kind],
            attributes={**_attributes(fault_id, change), **stage.attributes},
            start_time=stage.began_ns,
        )
        if stage.error is not None:
            span.set_status(Status(StatusCode.ERROR, stage.error[:TEXT_LIMIT_CHARS]))
        span.end(max(stage.began_ns, stage.ended_ns))


class _GivenIds(IdGenerator):
    """OpenTelemetry asks for ids while a span starts: they were set just before."""

    trace_id = span_id = 1

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Patient(SpanExporter):
    """Says once that the collector is away, and once that it is back."""

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        self._exporter = exporter
        self._where = where
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # whatever it is, it is about traces only
            _log.debug("traces: %r", error)
            result = SpanExportResult.FAILURE
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            _log.warning("traces: %s does not take them; they are dropped meanwhile", self._where)
        elif self._fails and not fails:
            _log.warning("traces: %s takes them again", self._where)
        self._fails = fails
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _within(fault_id: str, status: str) -> Context:
    """Under the span of that change, which another process may have made."""
    above = SpanContext(
        trace_id_of(fault_id),
        span_id_of(fault_id, status),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(above))


def _attributes(fault_id: str, change: Traced) -> Mapping[str, str]:
    return {
        "reachthru.fault.id": fault_id,
        "reachthru.fault.kind": str(change.kind),
        "reachthru.fault.status": str(change.status),
        "reachthru.fault.severity": str(change.severity),
        "reachthru.instance.uuid": change.instance_uuid,
        "reachthru.host": change.host,
    }
