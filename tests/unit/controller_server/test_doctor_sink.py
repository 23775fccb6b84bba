"""Doctor's event in its three shapes, as tests/golden/doctor has them, at a real HTTP server."""

import json
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from reachthru.controller_server.model import Fault
from reachthru.controller_server.settings import load
from reachthru.controller_server.sinks.base import NotNowError
from reachthru.service import SettingsError

GOLDEN = {
    path.stem: json.loads(path.read_text())
    for path in (Path(__file__).parents[2] / "golden/doctor").glob("*.json")
}
HOST_LOST = Fault(
    id="fault-host",
    kind="host_lost",
    severity="critical",
    status="raised",
    instance_uuid="",
    instance_name="",
    host="compute-0",
    raised_at="2026-01-01T12:00:00.250000+00:00",
    cleared_at=None,
    detail="its agent has said nothing for 30 s",
    corrective_action="",
    stages_ms={},
    deliveries=[],
    instances=["uuid-1", "uuid-2"],
)
UNHEALTHY = Fault(
    id="fault-guest",
    kind="unhealthy",
    severity="major",
    status="raised",
    instance_uuid="uuid-1",
    instance_name="instance-00000001",
    host="compute-0",
    # An agent's clock has a zone of its own, and not always a fraction.
    raised_at="2026-01-01T13:00:00+01:00",
    cleared_at=None,
    detail="db: disk full",
    corrective_action="log",
    stages_ms={},
    deliveries=[],
    correlated_to="fault-host",
)
FAULTS = {"host_lost": HOST_LOST, "unhealthy": UNHEALTHY}


def as_of(name):
    """`<kind> <status>`."""
    kind, status = name.split()
    fault = FAULTS[kind]
    if status == "cleared":
        return Fault(
            **{
                **{field: getattr(fault, field) for field in fault.__struct_fields__},
                "status": "cleared",
                "cleared_at": "2026-01-01T12:00:05.500000+00:00",
            }
        )
    return fault


@pytest.fixture
def make_sink(tmp_path):
    def make(**options):
        lines = "".join(f"{key} = {value}\n" for key, value in options.items())
        path = tmp_path / "controller.conf"
        path.write_text(f"[sinks]\nenabled = doctor\n[sink_doctor]\n{lines}")
        return load(path).sinks[0]

    return make


@pytest.fixture
async def inspector():
    told = []

    async def take(request):
        told.append((request.method, request.path, request.headers, await request.json()))
        return web.Response(text=server.reply)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    server = TestServer(app)
    server.told, server.reply = told, "OK"
    async with server:
        yield server


@pytest.mark.parametrize(
    ("shape", "name"),
    [(shape, name) for shape, golden in GOLDEN.items() for name in golden["told"]],
)
async def test_each_shape_is_what_its_receiver_reads(inspector, make_sink, shape, name):
    async with make_sink(shape=shape, url=inspector.make_url("/events")) as sink:
        await sink.deliver(as_of(name))
    ((method, path, headers, body),) = inspector.told
    golden = GOLDEN[shape]
    assert (method, path) == (golden["method"], "/events")
    assert headers["Content-Type"] == "application/json"
    assert body == golden["told"][name]


@pytest.mark.parametrize("shape", GOLDEN)
async def test_nothing_of_its_sources_example_is_missing(inspector, make_sink, shape):
    async with make_sink(shape=shape, url=inspector.make_url("/")) as sink:
        await sink.deliver(HOST_LOST)

    def assert_covers(ours, example):
        assert type(ours) is type(example)
        if isinstance(example, dict):
            for key, value in example.items():
                assert_covers(ours[key], value)
        elif isinstance(example, list):
            assert_covers(ours[0], example[0])

    assert_covers(inspector.told[0][3], GOLDEN[shape]["example"])


@pytest.mark.parametrize("shape", GOLDEN)
async def test_two_instances_of_one_host_are_two_alarms(inspector, make_sink, shape):
    other = Fault(**{field: getattr(UNHEALTHY, field) for field in UNHEALTHY.__struct_fields__})
    other.instance_uuid = "uuid-2"
    async with make_sink(shape=shape, url=inspector.make_url("/")) as sink:
        await sink.deliver(UNHEALTHY)
        await sink.deliver(other)
    events = [body[0] if shape == "sample_inspector" else body for *_, body in inspector.told]
    events = [event.get("event", event) for event in events]
    assert [event["details"]["instance_uuid"] for event in events] == ["uuid-1", "uuid-2"]
    if shape == "vitrage":  # it knows an alarm by type and hostname only
        assert events[0]["type"] != events[1]["type"]


async def test_the_sample_inspector_never_takes_a_host_down_for_a_guest_or_a_return():
    """It does at every event of that type, whatever its status (handle_events)."""
    told = GOLDEN["sample_inspector"]["told"]
    of_that_type = {name for name, (event,) in told.items() if event["type"] == "compute.host.down"}
    assert of_that_type == {"host_lost raised"}


async def test_a_yes_with_an_error_inside_is_a_no(inspector, make_sink):
    inspector.reply = '{"error": "Failed to post event"}'
    async with make_sink(url=inspector.make_url("/")) as sink:
        with pytest.raises(NotNowError, match=r"200 OK: .*Failed to post event"):
            await sink.deliver(UNHEALTHY)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "url = : must be http"),
        ({"url": "ftp://inspector/"}, "url = ftp://inspector/: must be http"),
        ({"shape": "vitrage"}, "url = : must be http"),
        ({"shape": "congress", "url": "http://i/"}, "allowed: .*specification"),
        ({"url": "http://i/", "auth_type": "kerberos9"}, "auth_type = kerberos9: must be set"),
        ({"url": "http://i/", "cafile": "/nowhere"}, r"\] cafile = /nowhere: No such file"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(make_sink, options, says):
    with pytest.raises(SettingsError, match=says) as caught:
        make_sink(**options)
    assert "sink_doctor" in str(caught.value)
    assert "\n" not in str(caught.value)
