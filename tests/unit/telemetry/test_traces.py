"""Traces' ids follow from faults' ids; settings that can't work are said at the start."""

import subprocess
import sys
import uuid

import pytest

from reachthru.telemetry import traces
from reachthru.telemetry.traces import TracingError, make_tracer, span_id_of, trace_id_of


def test_a_traces_id_is_the_faults():
    fault_id = uuid.uuid4()
    assert trace_id_of(str(fault_id)) == fault_id.int


@pytest.mark.parametrize("fault_id", ["host_lost of compute-0", "", str(uuid.UUID(int=0))])
def test_any_other_id_gives_one_as_well(fault_id):
    assert 0 < trace_id_of(fault_id) < 2**128
    assert trace_id_of(fault_id) == trace_id_of(fault_id)


def test_spans_of_one_fault_have_different_ids():
    ids = {
        span_id_of("f", status, *more) for status in ("raised", "cleared") for more in ((), ("x",))
    }
    assert len(ids) == 4
    assert all(0 < one < 2**64 for one in ids)


def test_no_endpoint_is_no_tracer_and_no_library():
    program = (
        "import sys\n"
        "from reachthru.telemetry.traces import make_tracer\n"
        "import reachthru.host_agent.agent, reachthru.controller_server.shell\n"
        "assert make_tracer('x', '', 'h') is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://"])
def test_an_endpoint_that_is_none_is_said(endpoint):
    with pytest.raises(TracingError, match=r"\[tracing\] otlp_endpoint"):
        make_tracer("x", endpoint, "h")


def test_a_missing_library_is_said_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "reachthru.telemetry.otlp", None)
    with pytest.raises(TracingError, match=r"pip install 'reachthru\[tracing\]'"):
        make_tracer("x", "http://collector:4318", "h")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_otlps_path_is_added_where_none_is_written(endpoint, url):
    assert traces._traces_url(endpoint) == url


@pytest.mark.parametrize(
    ("bus_url", "system"),
    [
        ("mqtt://h", "mqtt"), ("mqtts://h", "mqtt"), ("rabbit://h", "rabbitmq"),
        ("rabbits://h", "rabbitmq"), ("memory://x", "memory"),
    ],
)  # fmt: skip
def test_the_bus_is_named_as_opentelemetry_does(bus_url, system):
    assert traces.attributes_of_bus(bus_url, "send")["messaging.system"] == system
