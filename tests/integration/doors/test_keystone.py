"""REST behind a real Keystone: who may ask, for how long, and what happens while it is away."""

import asyncio
import time

import httpx
import pytest
import yaml

from reachthru.controller_server.rest import keystone as keystone_module
from reachthru.controller_server.rest.door import CheckUnavailableError, Role
from reachthru.controller_server.rest.keystone import FRESH_S, STALE_LIMIT_S, KeystoneSettings

pytestmark = pytest.mark.xdist_group("keystone")  # one for all

PROMETHEUS_TOKEN = "a-token-for-prometheus"


@pytest.fixture(scope="module")
def controller(start_controller, keystone, secret_file, wait_until):
    tokens = secret_file("prometheus", PROMETHEUS_TOKEN)
    controller = start_controller(
        f"auth = keystone\nkeystone_url = {keystone.url}\nkeystone_ca_file = {keystone.ca}\n"
        f"reader_projects = {keystone.project('vnf')}\nreader_token_file = {tokens}"
    )
    # A Keystone that has just started may take seconds for its first answer.
    token = keystone.token("admin", project_name="admin")
    wait_until(lambda: controller.get("/v1/hosts", token).status_code == 200)
    return controller


@pytest.mark.parametrize(
    ("user", "scope", "status"),
    [
        ("admin", {"project_name": "admin"}, 200),
        ("admin", {"system_scope": "all"}, 200),
        ("watcher", {"system_scope": "all"}, 200),
        ("vnf-manager", {"project_name": "vnf"}, 200),
        # What a tenant is in a project of its own says nothing of the cloud.
        ("tenant", {"project_name": "tenants"}, 403),
    ],
)
def test_the_role_and_where_it_counts_decide(controller, keystone, user, scope, status):
    answer = controller.get("/v1/hosts", keystone.token(user, **scope))
    assert answer.status_code == status, answer.text
    if status == 403:
        assert "reader" in answer.json()["error"]


def test_a_token_that_is_none_is_refused_logged_and_counted(controller, keystone):
    right = keystone.token("admin", project_name="admin")
    garbled = right[:-20] + "A" * 20
    for wrong in ("nonsense", garbled, "x" * 5000, "caf\u00e9".encode()):
        answer = controller.get("/v1/faults", wrong)
        assert answer.status_code == 401
        assert f'Keystone uri="{keystone.url}"' in answer.headers["www-authenticate"]
    assert controller.get("/v1/faults").status_code == 401
    refused = [line for line in controller.log().splitlines() if "refused GET /v1/faults" in line]
    assert "from 127.0.0.1: 401" in refused[-1]
    assert garbled not in controller.log()
    metrics = controller.get("/metrics", PROMETHEUS_TOKEN).text
    assert 'reachthru_api_refusals_total{reason="wrong"}' in metrics
    assert 'reachthru_api_refusals_total{reason="missing"}' in metrics


def test_what_cant_get_keystones_tokens_has_one_of_a_file(controller):
    answer = controller.get("/metrics", Authorization=f"Bearer {PROMETHEUS_TOKEN}")
    assert answer.status_code == 200
    assert controller.get("/metrics").status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_token(controller, path):
    assert controller.get(path).status_code == 200


def test_a_stream_ends_when_its_token_expires(controller, keystone):
    lifetime_s = 3
    keystone.order(expiration=lifetime_s)
    try:
        token = keystone.token("watcher", system_scope="all")
    finally:
        keystone.order(expiration=3600)
    started = time.monotonic()
    with httpx.stream(
        "GET", f"{controller.url}/v1/events", headers={"X-Auth-Token": token}, timeout=30
    ) as stream:
        assert stream.status_code == 200
        assert b"following" in b"".join(stream.iter_bytes())  # read to its end
    assert time.monotonic() - started < lifetime_s + 2
    assert controller.get("/v1/hosts", token).status_code == 401


def test_known_tokens_go_on_while_keystone_is_away(controller, keystone, wait_until):
    known = keystone.token("watcher", system_scope="all")
    unknown = keystone.token("watcher", system_scope="all")
    assert controller.get("/v1/hosts", known).status_code == 200
    with keystone.away():
        assert controller.get("/v1/hosts", known).status_code == 200
        answer = controller.get("/v1/hosts", unknown)
        assert answer.status_code == 503
        assert "Keystone" in answer.json()["error"]
        assert controller.get("/healthz").status_code == 200
    wait_until(lambda: controller.get("/v1/hosts", unknown).status_code == 200)
    assert "answers again" in controller.log()


def test_the_operators_command_takes_a_cloud_or_the_environment(
    controller, keystone, reachthru, tmp_path
):
    auth = keystone.auth("watcher", system_scope="all")
    cloud = {"auth": auth, "cacert": str(keystone.ca), "auth_type": "password"}
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"site": cloud}}))
    code, out, error = reachthru("hosts", "--url", controller.url, "--os-cloud", "site")
    assert (code, error) == (0, "")
    assert out.startswith("HOST\t")

    environment = {f"OS_{key.upper()}": value for key, value in auth.items()}
    environment |= {"OS_CACERT": keystone.ca, "REACHTHRU_URL": controller.url}
    (tmp_path / "clouds.yaml").unlink()
    assert reachthru("hosts", **environment)[0] == 0

    code, _out, error = reachthru("hosts", **{**environment, "OS_PASSWORD": "wrong"})
    assert (code, len(error.splitlines())) == (1, 1)
    assert "Keystone" in error and "wrong" not in error

    code, _out, error = reachthru("hosts", "--url", controller.url)
    assert (code, len(error.splitlines())) == (1, 1)
    assert "--os-cloud" in error


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def checks(keystone):
    """await checks(clock): our end of Keystone, in this process."""
    opened = []

    async def make(clock):
        settings = KeystoneSettings(
            url=keystone.url.removesuffix("/v3"),
            ca_file=str(keystone.ca),
            reader_roles=frozenset({"reader"}),
            admin_roles=frozenset({"admin"}),
            reader_projects=frozenset(),
        )
        opened.append(keystone_module.Keystone(settings, clock))
        return await opened[-1].__aenter__()

    yield make
    for check in opened:
        await check.__aexit__()


async def test_a_revoked_token_lets_in_for_a_minute_at_most(checks, keystone):
    clock = Clock()
    check = await checks(clock)
    token = await asyncio.to_thread(keystone.token, "watcher", system_scope="all")
    assert (await check.caller(token)).role is Role.READER
    await asyncio.to_thread(keystone.revoke, token)
    clock.now += FRESH_S + 0.1
    assert await check.caller(token) is None


async def test_what_keystone_said_is_not_believed_for_ever(checks, keystone):
    clock = Clock()
    check = await checks(clock)
    token = await asyncio.to_thread(keystone.token, "watcher", system_scope="all")
    await check.caller(token)
    await asyncio.to_thread(keystone.order, listening=False)
    try:
        clock.now += STALE_LIMIT_S - 1
        assert (await check.caller(token)).role is Role.READER
        clock.now += 2
        with pytest.raises(CheckUnavailableError):
            await check.caller(token)
    finally:
        await asyncio.to_thread(keystone.order, listening=True)


async def test_many_tokens_take_bounded_memory_and_one_token_one_question(
    checks, keystone, monkeypatch
):
    monkeypatch.setattr(keystone_module, "CACHE_LIMIT", 3)
    check = await checks(Clock())
    asked = []
    get = check._session.get

    def counted(*words, **more):
        asked.append(words)
        return get(*words, **more)

    monkeypatch.setattr(
        type(check._session), "get", lambda _self, *words, **more: counted(*words, **more)
    )
    token = await asyncio.to_thread(keystone.token, "watcher", system_scope="all")
    callers = await asyncio.gather(*(check.caller(token) for _ in range(20)))
    assert {caller.role for caller in callers} == {Role.READER}
    assert len(asked) == 1
    for number in range(5):
        assert await check.caller(f"nonsense-{number}") is None
    assert len(check._known) == 3
