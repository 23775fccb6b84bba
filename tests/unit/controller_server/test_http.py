"""What sinks share of HTTP: what an answer means, and how little of it is kept."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from reachthru import service
from reachthru.certificates import client_tls
from reachthru.controller_server import sinks
from reachthru.controller_server.settings import load
from reachthru.controller_server.sinks.base import NotNowError, RefusedError
from reachthru.controller_server.sinks.http import ANSWER_LIMIT_BYTES, HttpClient, ServiceClient
from reachthru.service import SettingsError

SERVICE_SECTION = "sink_masakari"


@pytest.fixture
async def server():
    async def take(request):
        server.asked.append((request.method, request.path, dict(request.headers)))
        return web.Response(status=server.status, body=server.body, headers=server.headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    server = TestServer(app)
    server.asked, server.status, server.body, server.headers = [], 200, b"", {}
    async with server:
        server.url = str(server.make_url("/"))
        yield server


@pytest.fixture
async def client():
    async with HttpClient(timeout_s=5.0, tls=client_tls(None, None, None)) as client:
        yield client


@pytest.fixture
def make_service(tmp_path):
    """make_service(endpoint, ...): as [sink_masakari] says."""

    def make(endpoint, **options):
        path = tmp_path / "controller.conf"
        lines = "".join(f"{key} = {value}\n" for key, value in options.items())
        path.write_text(f"[{SERVICE_SECTION}]\nendpoint_override = {endpoint}\n{lines}")
        return ServiceClient(service.load(path, sinks.options()), SERVICE_SECTION, "instance-ha")

    return make


async def test_an_answers_beginning_is_quoted_in_one_line(server, client):
    server.status, server.body = 400, b"<h1>no\r\n\x1b[31m\x00way</h1>" + b"!" * 1000
    answer = await client.send("POST", f"{server.url}a/secret?token=hunter2", b"{}")
    with pytest.raises(RefusedError) as refusal:
        answer.insist_on_yes()
    said = str(refusal.value)
    assert said.startswith(
        f"{server.url.rstrip('/')} answered 400 Bad Request: <h1>no [31mway</h1>!!!"
    )
    assert len(said) < 300
    assert said.isprintable()
    assert "hunter2" not in said


async def test_of_a_long_answer_only_the_beginning_is_read(server, client):
    server.body = b"x" * (10 * ANSWER_LIMIT_BYTES)
    answer = await client.send("GET", server.url, b"")
    assert len(answer.body) == ANSWER_LIMIT_BYTES
    answer.insist_on_yes()


async def test_a_redirect_is_not_followed(server, client):
    server.status, server.headers = 307, {"Location": f"{server.url}elsewhere"}
    answer = await client.send("POST", f"{server.url}here", b"{}")
    with pytest.raises(NotNowError, match="307"):
        answer.insist_on_yes()
    assert [path for _, path, _ in server.asked] == ["/here"]


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (400, RefusedError), (404, RefusedError), (409, RefusedError), (422, RefusedError),
        # What an operator may put right, or time.
        (401, NotNowError), (403, NotNowError), (408, NotNowError), (429, NotNowError),
        (300, NotNowError), (500, NotNowError), (503, NotNowError),
    ],
)  # fmt: skip
async def test_what_a_service_must_say_for_a_no_for_ever(server, make_service, status, what):
    server.status = status
    async with make_service(server.url) as service:
        with pytest.raises(what, match=str(status)):
            await service.ask("POST", "/notifications", {})


async def test_a_service_without_keystone_is_shown_no_token(server, make_service):
    async with make_service(f"{server.url}v1/") as service:
        await service.ask("POST", "/notifications", {"a": 1})
    ((method, path, headers),) = server.asked
    assert (method, path) == ("POST", "/v1/notifications")
    assert "X-Auth-Token" not in headers
    assert headers["Accept"] == headers["Content-Type"] == "application/json"


async def test_a_keystone_that_is_away_is_a_no_for_now(make_service):
    options = {"auth_type": "password", "auth_url": "http://127.0.0.1:1/v3", "username": "u"}
    options |= {"password": "hunter2", "user_domain_id": "default", "project_name": "p"}
    async with make_service("http://masakari", **options) as service:
        with pytest.raises(NotNowError, match="Keystone: ") as caught:
            await service.ask("POST", "/notifications", {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["masakari", "tacker"])
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "auth_type = : must be set, since"),
        ("auth_type = none\ntimeout = 0", "timeout = 0"),
        ("auth_type = none\ncorrective_actions = reset", "corrective_actions = reset"),
        ("auth_type = none\npassword_file = /nowhere", "auth_type = none needs none"),
        ("auth_type = none\ncertfile = /nowhere", "certfile = /nowhere: No such file"),
    ],
)
def test_wrong_settings_of_a_service_are_refused_in_one_line(tmp_path, name, line, says):
    path = tmp_path / "controller.conf"
    path.write_text(f"[sinks]\nenabled = {name}\n[sink_{name}]\n{line}\n")
    with pytest.raises(SettingsError, match=says) as caught:
        load(path)
    assert f"[sink_{name}]" in str(caught.value)
    assert "\n" not in str(caught.value)
