"""`openstack guest ...`: the real OpenStackClient, a real Keystone, a real controller."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from lab.cloud import Cloud
from lab.release import unpack
from reachthru.bus import agent_bus
from reachthru.protocol.agent_bus import AgentReport, FaultChange, InstanceReport

pytestmark = pytest.mark.xdist_group("keystone")  # one for all

WEB, DB, TWIN_A, TWIN_B = (f"{digit * 8}-1111-4111-8111-{digit * 12}" for digit in "1234")
NAMES = {WEB: "web", DB: "db\x1b[2J", TWIN_A: "twin", TWIN_B: "twin"}
HOSTS = {WEB: "compute-0", DB: "compute-1", TWIN_A: "compute-0", TWIN_B: "compute-0"}
RAISED_AT, CLEARED_AT = "2026-01-02T03:04:05.000000+00:00", "2026-01-02T03:04:06.000000+00:00"
TOKEN = "a-token-for-a-script"


def instance(uuid):
    return InstanceReport(
        uuid=uuid,
        name=NAMES[uuid],
        state="running",
        registered=True,
        interval_ms=400,
        last_seen_at=RAISED_AT,
        health="healthy" if uuid == WEB else "unhealthy",
    )


def change(seq, uuid, kind, status="raised"):
    return FaultChange(
        fault_id=f"{kind}-{uuid[:4]}",
        seq=seq,
        status=status,
        kind=kind,
        severity="critical",
        instance_uuid=uuid,
        instance_name=NAMES[uuid],
        host=HOSTS[uuid],
        raised_at=RAISED_AT,
        cleared_at=CLEARED_AT if status == "cleared" else None,
        detail="disk\x1b]0;owned\x07 full",
    )


async def report(url):
    """What two host agents say."""
    changes = {
        "compute-0": [
            change(1, WEB, "heartbeat_lost"),
            change(2, WEB, "heartbeat_lost", "cleared"),
            change(3, WEB, "unhealthy"),
        ],
        "compute-1": [change(1, DB, "unhealthy")],
    }
    for host, said in changes.items():
        carried = [instance(uuid) for uuid in HOSTS if HOSTS[uuid] == host]
        async with agent_bus(url, host) as bus:
            async with asyncio.timeout(40):
                while not bus.connected:
                    await asyncio.sleep(0.02)
            await bus.send(
                AgentReport(
                    host=host,
                    agent_version="1",
                    sent_at=RAISED_AT,
                    lateness_ms=0.0,
                    guests=len(carried),
                    full=True,
                    instances=carried,
                )
            )
            for one in said:
                await bus.send(one)


@pytest.fixture(scope="module")
def controller(start_controller, keystone, secret_file, tmp_path_factory, wait_until):
    groups = tmp_path_factory.mktemp("groups") / "groups.yaml"
    groups.write_text(yaml.safe_dump({"a vnf/1": [WEB, DB]}))
    tokens = secret_file("tokens", TOKEN)
    controller = start_controller(
        f"auth = keystone\nkeystone_url = {keystone.url}\nkeystone_ca_file = {keystone.ca}\n"
        f"reader_token_file = {tokens}\n[groups]\nstatic_file = {groups}"
    )
    asyncio.run(report(controller.bus_url.replace("embedded", "127.0.0.1")))

    def is_told():
        faults = controller.get("/v1/faults", TOKEN).json()["faults"]
        instances = controller.get("/v1/instances", TOKEN).json()["instances"]
        return (len(faults), len(instances)) == (3, 4)

    wait_until(is_told)
    return controller


@pytest.fixture(scope="module")
def catalogue(openstack, keystone, controller):
    """The controller is in it, as docs/openstack/README.md says."""
    admin = keystone.environment("admin", project_name="admin")
    for words in (
        ["service", "create", "--name", "reachthru", "guest-health"],
        ["endpoint", "create", "--region", "one", "guest-health", "public", controller.url],
    ):
        done = openstack(*words, **admin)
        assert done.code == 0, done
    yield
    keystone.forget("guest-health")


@pytest.fixture
def guest(openstack, keystone, catalogue):
    """guest(*words, **environment): `openstack guest ...` of one who may read of the cloud."""
    environment = keystone.environment("watcher", system_scope="all")

    def run(*words, **more):
        return openstack("guest", *words, **{**environment, **more})

    return run


def only_line(said):
    """Of an error: nothing else was written."""
    assert (said.code, said.out) == (1, ""), said
    (line,) = said.error.splitlines()
    return line


def test_the_list_says_how_each_server_is(guest):
    rows = {row["ID"]: row for row in guest("health", "list", "-f", "json").json}
    assert set(rows) == set(HOSTS)
    assert rows[WEB] == {
        "ID": WEB,
        "Name": "web",
        "Host": "compute-0",
        "State": "running",
        "Registered": True,
        "Health": "healthy",
        "Last Seen At": RAISED_AT,
    }
    assert rows[DB]["Health"] == "unhealthy"


@pytest.mark.parametrize("wanted", ["web", WEB.replace("-", "").upper()])
def test_a_server_is_shown_by_its_name_or_id_with_the_faults_that_are_active(guest, wanted):
    shown = guest("health", "show", wanted, "-f", "json").json
    assert (shown["id"], shown["name"], shown["interval_ms"]) == (WEB, "web", 400)
    assert [(fault["kind"], fault["raised_at"]) for fault in shown["active_faults"]] == [
        ("unhealthy", RAISED_AT)
    ]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([], ["unhealthy-2222", "unhealthy-1111", "heartbeat_lost-1111"]),
        (["--server", "web"], ["unhealthy-1111", "heartbeat_lost-1111"]),
        (["--active", "--host", "compute-0"], ["unhealthy-1111"]),
        (["--limit", "1"], ["unhealthy-2222"]),
    ],
)
def test_faults_are_listed_newest_first_as_far_as_the_filters_let_them(guest, filters, ids):
    rows = guest("fault", "list", *filters, "-f", "json").json
    assert sorted(row["ID"] for row in rows) == sorted(ids)
    of_web = [row["ID"] for row in rows if row["Server ID"] == WEB]
    assert of_web == [fault_id for fault_id in ids if fault_id.endswith("1111")]


def test_a_group_is_shown_with_its_members(guest):
    shown = guest("group", "show", "a vnf/1", "-f", "json").json
    assert shown["id"] == "a vnf/1"
    assert [(one["id"], one["host"]) for one in shown["members"]] == [
        (WEB, "compute-0"),
        (DB, "compute-1"),
    ]


def test_people_and_programs_get_it_in_their_form(guest):
    def listed(form):
        said = guest("fault", "list", "--host", "compute-1", "--long", "-f", form)
        assert (said.code, said.error) == (0, "")
        return said.out

    (row,) = yaml.safe_load(listed("yaml"))
    assert row["Told"] == [{"sink": "log", "state": "done", "attempts": 1}]
    # What a guest wrote moves nobody's cursor.
    table = listed("table")
    assert "unhealthy" in table and "log  done  1" in table and "disk ]0;owned  full" in table
    assert "\x1b" not in table


def test_who_may_not_read_hears_why_in_one_line(openstack, keystone, catalogue):
    tenant = keystone.environment("tenant", project_name="tenants")
    line = only_line(openstack("guest", "fault", "list", **tenant))
    assert "needs the role reader" in line and "HTTP 403" in line


@pytest.mark.parametrize(
    ("words", "environment", "parts"),
    [
        (["health", "show", "nobody"], {}, ["no server nobody"]),
        (["health", "show", WEB.replace("1", "9")], {}, ["no host has an instance 9999"]),
        (["health", "show", "twin"], {}, ["2 servers", TWIN_A, TWIN_B]),
        (["group", "show", "no/such"], {}, ["no server group no/such"]),
        (["fault", "list", "--limit", "0"], {}, ["limit"]),
        (
            ["health", "list"],
            {"OS_REGION_NAME": "two"},
            ["no public endpoint", "region two", "override"],
        ),
        (["health", "list"], {"OS_GUEST_HEALTH_API_VERSION": "7"}, ["version 7", "has 1"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_error_is_one_line_that_says_what_is_wrong(guest, words, environment, parts):
    line = only_line(guest(*words, **environment))
    assert all(part in line for part in parts), line


def test_an_endpoint_that_is_no_controller_is_told_apart(guest, keystone, controller):
    def asked(url, **more):
        more["OS_GUEST_HEALTH_ENDPOINT_OVERRIDE"] = url
        return only_line(guest("health", "list", **more))

    line = asked(keystone.url.replace("/v3", ""))
    assert "HTTP 404" in line and "controller with API version 1" in line
    assert "no connection" in asked("http://127.0.0.1:9")
    assert "--os-cacert" in asked(controller.url.replace("http:", "https:"))


def test_the_override_is_an_option_and_a_key_of_clouds_yaml(
    openstack, keystone, controller, tmp_path
):
    auth = keystone.auth("watcher", system_scope="all")
    cloud = {
        "auth": auth,
        "cacert": str(keystone.ca),
        "region_name": "two",
        "guest_health_endpoint_override": f"{controller.url}/v1/",
    }
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(yaml.safe_dump({"clouds": {"site": cloud}}))
    asked = ["--os-cloud", "site", "guest", "health", "list", "-f", "json"]
    assert len(openstack(*asked, OS_CLIENT_CONFIG_FILE=clouds).json) == len(HOSTS)
    asked[:0] = ["--os-guest-health-endpoint-override", "http://127.0.0.1:9"]
    assert "127.0.0.1:9" in only_line(openstack(*asked, OS_CLIENT_CONFIG_FILE=clouds))


def test_a_redirection_gets_no_token(openstack):
    """Whoever answers in a controller's place can't send the token on."""
    asked = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["X-Auth-Token"]))
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_words):
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        words = ["--os-auth-type", "admin_token", "--os-endpoint", url, "guest", "health", "list"]
        line = only_line(openstack(*words, OS_TOKEN=TOKEN))
        server.shutdown()
    assert "HTTP 302" in line
    assert asked == [("/v1/instances", TOKEN)]


def test_a_static_token_does_where_there_is_no_keystone(openstack, controller):
    def listed(token):
        words = ["--os-auth-type", "admin_token", "--os-endpoint", controller.url]
        return openstack(*words, "guest", "fault", "list", "-f", "json", OS_TOKEN=token)

    assert len(listed(TOKEN).json) == 3
    wrong = only_line(listed("not-it"))
    assert "HTTP 401" in wrong and "not-it" not in wrong


@pytest.fixture
async def last_release():
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:  # sockets' paths are short
        cloud = Cloud(Path(folder), ("compute-0",))
        cloud.releases["controller"] = unpack(Path(folder) / "release")
        try:
            yield cloud
        finally:
            await cloud.close()


async def test_a_controller_of_the_last_release_without_a_lock_is_understood(
    openstack, last_release
):
    cloud = last_release
    await cloud.start_controller()
    cloud.start_agent("compute-0")
    server = await cloud.guest("compute-0")
    server.register()
    path = f"/v1/instances/{server.uuid}"
    await cloud.until(lambda: cloud.get(path)["instances"][0]["health"])
    server.beats = False
    await cloud.until(lambda: cloud.get("/v1/faults")["faults"])
    words = ["--os-auth-type", "none", "--os-endpoint", cloud.url, "guest"]
    listed = await asyncio.to_thread(openstack, *words, "fault", "list", "--long", "-f", "json")
    (row,) = listed.json
    assert (row["Server ID"], row["Kind"]) == (server.uuid, "heartbeat_lost")


def test_the_installed_command_runs_as_a_process(controller, tmp_path):
    done = subprocess.run(
        [
            Path(sys.executable).with_name("openstack"),
            *["--os-auth-type", "admin_token", "--os-endpoint", controller.url],
            *["guest", "fault", "list", "--active", "-f", "json"],
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OS_TOKEN": TOKEN},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {row["ID"] for row in json.loads(done.stdout)} == {"unhealthy-1111", "unhealthy-2222"}


def test_in_the_clients_environment_it_needs_only_msgspec_besides():
    code = (
        "import sys, typing_extensions, openstack.connection, openstackclient.shell\n"
        "before = {name.partition('.')[0] for name in sys.modules}\n"
        "from reachthru.openstack_plugins.osc import guest_fault, guest_group, guest_health\n"
        "print(*{name.partition('.')[0] for name in sys.modules} - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} - sys.stdlib_module_names == {"msgspec"}
