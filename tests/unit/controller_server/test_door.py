"""The guard of REST: what needs which role."""

import asyncio
import logging

import pytest
from litestar import Litestar, get, post
from litestar.testing import AsyncTestClient

from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.rest import door as door_module
from reachthru.controller_server.rest import refusals as refusals_module
from reachthru.controller_server.rest.door import Caller, Door, Role, Visitor
from reachthru.controller_server.rest.refusals import Refusals
from reachthru.controller_server.rest.static_tokens import StaticTokens
from reachthru.secret_files import SecretFile


@get("/v1/things")
async def look() -> str:
    return "seen"


@post("/v1/things")
async def change() -> str:
    return "changed"


@pytest.fixture
async def client(tmp_path):
    files = {}
    for role in (Role.READER, Role.ADMIN):
        path = tmp_path / role.name
        path.write_text(f"token-of-{role.name}\n")
        path.chmod(0o600)
        files[role] = SecretFile(path)
    door = Door([StaticTokens(files)], Refusals(Metrics()))
    app = Litestar([look, change], guards=[door.guard], openapi_config=None)
    async with AsyncTestClient(app) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "token", "status"),
    [
        ("GET", "token-of-READER", 200),
        ("GET", "token-of-ADMIN", 200),
        ("POST", "token-of-ADMIN", 201),
        ("POST", "token-of-READER", 403),
        ("POST", "nonsense", 401),
        ("POST", None, 401),
    ],
)
async def test_what_changes_something_needs_the_admin(client, method, token, status):
    headers = {} if token is None else {"X-Auth-Token": token}
    answer = await client.request(method, "/v1/things", headers=headers)
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) is (status == 401)


async def test_a_flood_of_refusals_is_counted_and_not_all_logged(client, caplog, monkeypatch):
    caplog.set_level(logging.WARNING, logger=refusals_module.__name__)
    for _ in range(200):
        await client.get("/v1/things", headers={"X-Auth-Token": "nonsense"})
    assert refusals_module.LOG_BURST <= len(caplog.records) < 50
    assert "nonsense" not in caplog.text


async def test_a_visitor_stays_until_the_token_is_taken_back(monkeypatch):
    monkeypatch.setattr(door_module, "RECHECK_INTERVAL_S", 0.001)
    caller = Caller(name="somebody", role=Role.READER)
    answers = [caller, caller, None, caller]

    async def check():
        return answers.pop(0)

    async with asyncio.timeout(5):
        await Visitor(check, caller).until_unwelcome()
    assert answers == [caller]
