"""Where nobody is asked for a token: what a browser on this machine can't be made to do."""

import logging

import pytest
from litestar import Litestar, get, post
from litestar.testing import AsyncTestClient

from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.rest import refusals as refusals_module
from reachthru.controller_server.rest.door import OPEN
from reachthru.controller_server.rest.local_door import LocalDoor
from reachthru.controller_server.rest.refusals import Refusals

HERE = "127.0.0.1:8780"


@get("/v1/things")
async def look() -> str:
    return "seen"


@get("/", opt={OPEN: True})
async def page() -> str:
    return "the page"


@post("/v1/things")
async def change() -> str:
    return "changed"


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
async def client(metrics):
    door = LocalDoor({"controller.example"}, Refusals(metrics))
    app = Litestar([look, page, change], guards=[door.guard], openapi_config=None)
    async with AsyncTestClient(app) as client:
        yield client


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8780", 200),
        ("127.1.2.3", 200),
        ("localhost:9", 200),  # as behind ssh -L 9:localhost:8780
        ("LocalHost.", 200),
        ("[::1]:8780", 200),
        ("Controller.Example:443", 200),  # named in the settings
        ("rebound.example", 421),
        ("rebound.example:8780", 421),
        ("127.0.0.1.rebound.example", 421),
        ("localhost.rebound.example", 421),
        ("sub.controller.example", 421),
        ("0.0.0.0:8780", 421),  # which some systems take for this machine
        ("192.0.2.1", 421),
        ("127.0.0.1@rebound.example", 421),
        ("127.0.0.1:80:80", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize("path", ["/v1/things", "/"])
async def test_it_answers_under_its_own_names_only(client, path, host, status):
    assert (await client.get(path, headers={"Host": host})).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),  # a program
        ({"Sec-Fetch-Site": "same-origin", "Origin": f"http://{HERE}"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),  # what the operator does to the browser itself
        # A proxy asks under another name than the browser did.
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://controller.example"}, 201),
        ({"Origin": f"http://{HERE}"}, 201),  # an old browser
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
async def test_no_page_of_elsewhere_changes_anything(client, headers, status):
    answer = await client.post("/v1/things", headers={"Host": HERE, **headers})
    assert answer.status_code == status
    # Reading is safe: no other origin sees the answer.
    assert (await client.get("/v1/things", headers={"Host": HERE, **headers})).status_code == 200


async def test_a_refusal_is_counted_and_says_what_to_do_in_one_line(client, metrics, caplog):
    caplog.set_level(logging.WARNING, logger=refusals_module.__name__)
    answer = await client.get("/v1/things", headers={"Host": "rebound.example"})
    assert "[api] allowed_hosts" in answer.json()["detail"]
    await client.post("/v1/things", headers={"Host": HERE, "Origin": "https://\x1b[31melsewhere"})
    host, origin = caplog.messages
    assert "refused GET /v1/things" in host and "'rebound.example'" in host
    assert "refused POST /v1/things" in origin and "elsewhere" in origin and "\x1b" not in origin
    lines = metrics.render({}).decode().splitlines()
    assert 'reachthru_api_refusals_total{reason="host"} 1.0' in lines
    assert 'reachthru_api_refusals_total{reason="origin"} 1.0' in lines


async def test_a_flood_of_refusals_is_not_all_logged(client, caplog):
    caplog.set_level(logging.WARNING, logger=refusals_module.__name__)
    for _ in range(200):
        await client.get("/v1/things", headers={"Host": "rebound.example"})
    assert refusals_module.LOG_BURST <= len(caplog.records) < 50
