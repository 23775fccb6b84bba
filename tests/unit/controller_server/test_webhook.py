"""The webhook, against a real HTTP server."""

import asyncio
import contextlib
import hmac
import json
import time
from pathlib import Path

import aiohttp
import pytest

from reachthru.controller_server.model import Delivery, Fault
from reachthru.controller_server.sinks.base import NotNowError, RefusedError
from reachthru.controller_server.sinks.webhook import WebhookSettings, WebhookSink, signature
from reachthru.secret_files import SecretFile

FAULT = Fault(
    id="fault-1",
    kind="unhealthy",
    severity="major",
    status="cleared",
    instance_uuid="uuid-1",
    instance_name="db",
    host="compute-0",
    raised_at="2026-01-01T00:00:00.000000+00:00",
    cleared_at="2026-01-01T00:00:05.000000+00:00",
    detail="disk full: /var \u26a0",
    corrective_action="log",
    stages_ms={"detected": 0.0, "stored": 4.5},
    deliveries=[Delivery(sink="webhook", state="pending", attempts=0)],
)


class Receiver:
    """Answers each POST with `status`; keeps (path, headers, body)."""

    def __init__(self):
        self.status = "200 OK"
        self.requests = []
        self.bodies = []
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                self.bodies.append(body)
                self.requests.append((head[0], headers, json.loads(body)))
                writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()


@pytest.fixture
async def receiver():
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/fault"
    yield receiver
    server.close()


def webhook(url):
    return WebhookSink(WebhookSettings(url=url, timeout_s=2.0))


async def test_one_post_a_change_with_the_object_of_the_rest_api(receiver):
    async with webhook(receiver.url) as sink:
        await sink.deliver(FAULT)
    ((line, headers, body),) = receiver.requests
    assert line == "POST /fault HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == "fault-1/cleared"
    assert body == {
        "id": "fault-1",
        "kind": "unhealthy",
        "severity": "major",
        "status": "cleared",
        "instance_uuid": "uuid-1",
        "instance_name": "db",
        "host": "compute-0",
        "raised_at": "2026-01-01T00:00:00.000000+00:00",
        "cleared_at": "2026-01-01T00:00:05.000000+00:00",
        "detail": "disk full: /var \u26a0",
        "corrective_action": "log",
        "stages_ms": {"detected": 0.0, "stored": 4.5},
        "deliveries": [{"sink": "webhook", "state": "pending", "attempts": 0}],
        "correlated_to": None,
        "maintenance": None,
        "instances": [],
    }


async def test_a_connection_is_kept_for_the_next_change(receiver):
    async with webhook(receiver.url) as sink:
        for _ in range(5):
            await sink.deliver(FAULT)
    assert receiver.connections == 1
    assert len(receiver.requests) == 5


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content"])
async def test_2xx_is_a_yes(receiver, status):
    receiver.status = status
    async with webhook(receiver.url) as sink:
        await sink.deliver(FAULT)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "409 Conflict", "422 X"])
async def test_4xx_is_final(receiver, status):
    receiver.status = status
    async with webhook(receiver.url) as sink:
        with pytest.raises(RefusedError, match=status):
            await sink.deliver(FAULT)


@pytest.mark.parametrize(
    "status",
    ["408 Request Timeout", "425 Too Early", "429 Too Many", "500 Oops", "503 Later", "302 Found"],
)
async def test_whatever_asks_for_patience_is_tried_again(receiver, status):
    receiver.status = status
    async with webhook(receiver.url) as sink:
        with pytest.raises(NotNowError, match=status.split()[0]):
            await sink.deliver(FAULT)
        receiver.status = "200 OK"
        await sink.deliver(FAULT)


async def test_nobody_there_is_tried_again():
    async with webhook("http://127.0.0.1:1/") as sink:
        with pytest.raises(aiohttp.ClientConnectorError):
            await sink.deliver(FAULT)


async def test_a_delivery_that_is_given_up_leaves_its_place_usable(receiver):
    async with webhook(receiver.url) as sink:
        receiver.status = "100 Continue"  # and then nothing
        for _ in range(sink.concurrency * 2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await sink.deliver(FAULT)
        receiver.status = "200 OK"
        await sink.deliver(FAULT)


async def test_a_secret_in_its_address_is_not_shown(receiver):
    receiver.status = "400 Bad Request"
    url = receiver.url.replace("http://", "http://user:hunter2@") + "/hunter2?token=hunter2"
    async with webhook(url) as sink:
        with pytest.raises(RefusedError, match="400") as refusal:
            await sink.deliver(FAULT)
    assert "hunter2" not in str(refusal.value)
    assert receiver.requests[0][1]["authorization"].startswith("basic ")


async def test_a_post_is_signed_with_its_time(receiver, tmp_path, monkeypatch):
    monkeypatch.setattr("reachthru.secret_files.LOOK_INTERVAL_S", 0.0)
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("the vnf manager knows it\n")
    settings = WebhookSettings(url=receiver.url, timeout_s=2.0, secret=SecretFile(secret))
    async with WebhookSink(settings) as sink:
        before = int(time.time())
        await sink.deliver(FAULT)
        secret.write_text("another one\n")
        await sink.deliver(FAULT)
    for body, (_line, headers, _fault), key in zip(
        receiver.bodies,
        receiver.requests,
        (b"the vnf manager knows it", b"another one"),
        strict=True,
    ):
        timestamp = headers["x-reachthru-timestamp"]
        assert before <= int(timestamp) <= time.time()
        expected = hmac.new(key, timestamp.encode() + b"." + body, "sha256").hexdigest()
        assert headers["x-reachthru-signature"] == f"v1={expected}"


async def test_without_a_secret_nothing_is_signed(receiver):
    async with webhook(receiver.url) as sink:
        await sink.deliver(FAULT)
    assert "x-reachthru-signature" not in receiver.requests[0][1]


def test_the_check_in_the_documentation_takes_ours_and_nothing_else():
    text = (Path(__file__).parents[3] / "docs/security.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    names = {"hmac": hmac, "time": time}
    exec(code, names)
    is_ours = names["is_ours"]
    for age_s, taken in ((0, True), (301, False), (-301, False)):
        signed = signature("secret", int(time.time()) - age_s, b"{}")
        words = (signed["X-Reachthru-Timestamp"], signed["X-Reachthru-Signature"])
        assert is_ours(b"secret", *words, b"{}") is taken
        assert not is_ours(b"another", *words, b"{}")
        assert not is_ours(b"secret", *words, b"{ }")
        assert not is_ours(b"secret", str(int(words[0]) + 1), words[1], b"{}")
