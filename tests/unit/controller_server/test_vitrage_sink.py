"""What Vitrage is told, over its event API or its bus, and what its answers mean."""

import asyncio
import json

import pytest

from reachthru.controller_server.model import Delivery, Fault
from reachthru.controller_server.settings import load
from reachthru.controller_server.sinks.base import NotNowError, RefusedError
from reachthru.controller_server.sinks.vitrage import event_of
from reachthru.service import SettingsError


def fault(**more):
    return Fault(
        **{
            "id": "fault-1",
            "kind": "unhealthy",
            "severity": "major",
            "status": "raised",
            "instance_uuid": "uuid-1",
            "instance_name": "db",
            "host": "compute-0",
            "raised_at": "2026-01-01T01:00:00.250000+01:00",
            "cleared_at": None,
            "detail": "disk full: /var",
            "corrective_action": "log",
            "stages_ms": {"detected": 0.0},
            "deliveries": [Delivery(sink="vitrage", state="pending", attempts=0)],
        }
        | more
    )


def configured(tmp_path, settings):
    path = tmp_path / "controller.conf"
    path.write_text(f"[sinks]\nenabled = vitrage\n[sink_vitrage]\n{settings}\n")
    (sink,) = load(path).sinks
    return sink


class Api:
    """Answers every POST with `answer`; None: never."""

    async def __aenter__(self):
        self.answer, self.told = "200 OK", []
        self.body = b"null"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error):
        self._server.close()

    async def _serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        (length,) = [
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        ]
        self.told.append((head.splitlines()[0], json.loads(await reader.readexactly(length))))
        if self.answer is None:
            await reader.read()
        else:
            start = f"HTTP/1.1 {self.answer}\r\nConnection: close\r\n"
            writer.write(f"{start}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body)
        writer.close()


@pytest.fixture
async def api():
    async with Api() as door:
        yield door


@pytest.fixture
async def sink(tmp_path, api):
    settings = f"via = event_api\nauth_type = none\nendpoint_override = {api.url}\ntimeout = 2"
    async with configured(tmp_path, settings) as made:
        yield made


def test_an_event_is_what_vitrage_reads():
    event = event_of(fault())
    assert event["type"] == "reachthru.fault"
    assert event["time"] == "2026-01-01T00:00:00.250000"  # it insists on the fraction
    assert event["details"]["id"] == "fault-1"
    assert "deliveries" not in event["details"]
    json.dumps(event)


@pytest.mark.parametrize("status", ["raised", "cleared"])
def test_vitrage_does_not_take_an_event_for_one_of_doctors(status):
    """It renames events whose details say so."""
    assert event_of(fault(status=status))["details"]["status"] not in ("up", "down")


def test_a_time_that_is_none_costs_no_event():
    assert event_of(fault(raised_at="in the morning"))["time"].startswith("2")


async def test_the_event_api_gets_one_post_a_change(sink, api):
    await sink.deliver(fault())
    assert api.told == [("POST /v1/event HTTP/1.1", event_of(fault()))]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("400 Bad Request", RefusedError),
        ("413 Too Large", RefusedError),
        ("401 Unauthorized", NotNowError),
        ("403 Forbidden", NotNowError),
        ("404 Failed to post event", NotNowError),  # its graph does not answer
        ("429 Too Many Requests", NotNowError),
        ("500 Oops", NotNowError),
        ("503 vitrage-graph is not ready", NotNowError),
        ("302 Found", NotNowError),
    ],
)
async def test_what_the_event_api_answers(sink, api, answer, error):
    api.answer = answer
    with pytest.raises(error, match=answer.split()[0]):
        await sink.deliver(fault())


async def test_a_yes_with_an_error_inside_is_a_no(sink, api):
    api.body = b'{"error": "lost"}'
    with pytest.raises(NotNowError):
        await sink.deliver(fault())


async def test_an_api_that_does_not_answer_is_given_up_in_time(sink, api):
    api.answer = None
    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError):
            await sink.deliver(fault())


async def test_without_a_broker_it_is_said_where_there_is_none(tmp_path):
    async with configured(tmp_path, "url = rabbit://me:hidden@127.0.0.1:9/v") as sink:
        async with asyncio.timeout(30):
            with pytest.raises(NotNowError) as caught:
                await sink.deliver(fault())
    assert str(caught.value) == "rabbit://127.0.0.1:9/v: connection refused"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("", ["[sink_vitrage] url", "rabbit[s]://", "via = bus"]),
        ("url = mqtt://x", ["[sink_vitrage] url", "mqtt://x", "rabbit[s]://"]),
        ("url = rabbits://x", ["[sink_vitrage]", "ca_file"]),
        ("url = rabbit://x\nca_file = /nowhere", ["[sink_vitrage]", "ca_file"]),
        ("url = rabbit://x\nusername = me", ["[sink_vitrage]", "password_file"]),
        ("via = mail", ["[sink_vitrage] via", "bus, event_api"]),
        ("via = event_api", ["[sink_vitrage] auth_type", "via = event_api"]),
        ("via = event_api\nauth_type = none\ncafile = /nowhere", ["[sink_vitrage]", "/nowhere"]),
        ("reconcile_interval = -1", ["[sink_vitrage] reconcile_interval", "from 0"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, settings, words):
    with pytest.raises(SettingsError) as caught:
        configured(tmp_path, settings)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line
