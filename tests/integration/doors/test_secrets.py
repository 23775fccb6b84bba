"""The daemons with secrets everywhere, and everything wrong: no secret is told to anybody."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reachthru.bus import agent_bus
from reachthru.protocol.agent_bus import FaultChange
from servers.ports import free_port

pytestmark = pytest.mark.xdist_group("keystone")  # one for all

MARK = "hunter2"  # every secret here has it in it, and nothing else
ANSWERED = ("/v1/faults", "/v1/instances", "/v1/hosts", "/v1/groups", "/metrics")
API_TOKEN = f"{MARK}-of-an-operator"


def refusing_nova(keystone):
    """Keystone does not take the password."""
    return (
        f"[nova]\nnotifications_url = rabbit://nova:{MARK}-nova-bus@127.0.0.1:{free_port()}/\n"
        f"auth_type = password\nauth_url = {keystone.url}\ncafile = {keystone.ca}\n"
        f"username = admin\npassword = {MARK}-nova\nproject_name = admin\n"
        "user_domain_id = default\nproject_domain_id = default\n"
    )


def absent_nova():
    """Neither its bus nor its API is there; both have passwords in their addresses."""
    return (
        f"[nova]\nnotifications_url = rabbit://nova:{MARK}-nova-bus@127.0.0.1:{free_port()}/\n"
        "auth_type = none\n"
        f"endpoint_override = http://nova:{MARK}-endpoint@127.0.0.1:{free_port()}/v2.1\n"
    )


def broken_webhook(secret_file):
    return (
        "[sinks]\nenabled = log, webhook\n[sink_webhook]\n"
        f"url = http://vnfm:{MARK}-hook@127.0.0.1:{free_port()}/{MARK}-path?token={MARK}-query\n"
        f"timeout = 1\nsecret_file = {secret_file('hmac', f'{MARK}-hmac')}\n"
    )


def api(secret_file, keystone):
    return (
        f"auth = keystone\nkeystone_url = {keystone.url}\nkeystone_ca_file = {keystone.ca}\n"
        f"admin_token_file = {secret_file('admins', API_TOKEN)}\n"
        "[DEFAULT]\ndebug = true\n"
    )


async def tell_of_a_fault(url):
    async with agent_bus(url, "compute-0") as bus:
        while not bus.connected:
            await asyncio.sleep(0.01)
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        await bus.send(
            FaultChange(
                fault_id="fault-1",
                seq=1,
                status="raised",
                kind="heartbeat_lost",
                severity="critical",
                instance_uuid="uuid-1",
                instance_name="db",
                host="compute-0",
                raised_at=now,
                cleared_at=None,
                detail="no answer",
                stages_ms={},
            )
        )


def assert_silent(*texts):
    for text in texts:
        assert text
        found = [line for line in text.splitlines() if MARK in line]
        assert not found, found[:3]


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("nova", ["refuses", "is away"])
def test_a_controller_whose_neighbours_fail_tells_no_secret(
    start_controller, secret_file, keystone, wait_until, nova
):
    more = refusing_nova(keystone) if nova == "refuses" else absent_nova()
    more += broken_webhook(secret_file)
    controller = start_controller(api(secret_file, keystone) + more)
    asyncio.run(tell_of_a_fault(controller.bus_url.replace("embedded", "127.0.0.1")))
    wait_until(lambda: "sink webhook: fault fault-1" in controller.log())
    wait_until(lambda: "Nova's API can't be asked" in controller.log())
    for wrong in (f"{MARK}-wrong", "\u00e9".encode()):
        assert controller.get(f"/v1/faults?token={MARK}-in-a-query", wrong).status_code == 401
    answers = [
        controller.get(path, API_TOKEN)
        for path in (*ANSWERED, "/readyz", "/v1/instances/x", "/v1/faults?limit=x", "/v1/nothing")
    ]
    assert all(answer.status_code == 200 for answer in answers[: len(ANSWERED)])
    log = controller.log()
    assert "127.0.0.1: 401" in log  # it is a log that says something
    assert_silent(log, *(answer.text for answer in answers), command_line(controller.process.pid))


@pytest.fixture
def broker(tmp_path):
    """The port of a Mosquitto that knows nobody."""
    port = free_port()
    (tmp_path / "passwords").touch(0o600)
    (tmp_path / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {tmp_path}/passwords\nuser {os.environ.get('USER', 'root')}\n"
    )
    path = f"{os.environ['PATH']}:/usr/sbin"  # Debian's place
    with subprocess.Popen(
        ["mosquitto", "-c", tmp_path / "mosquitto.conf"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": path},
    ) as process:
        yield port
        process.terminate()


def test_daemons_that_the_broker_refuses_tell_no_secret(
    start_controller, broker, tmp_path, wait_until, secret_file
):
    password = secret_file("password", f"{MARK}-bus")
    bus = f"mqtt://127.0.0.1:{broker}\nusername = somebody\npassword_file = {password}"
    controller = start_controller("[DEFAULT]\ndebug = true\n", "/healthz", bus=bus)
    (tmp_path / "ports").mkdir()
    settings = tmp_path / "host.conf"
    settings.write_text(
        f"[DEFAULT]\nhost = compute-0\n[discovery]\ndriver = directory\n"
        f"[directory]\npath = {tmp_path}/ports\n[bus]\nurl = {bus}\n"
        f"[outbox]\npath = {tmp_path}/outbox.sqlite\n"
    )
    words = [sys.executable, "-m", "reachthru.host_agent.cli", "--config-file", settings]
    with (tmp_path / "host.log").open("wb") as log, subprocess.Popen(words, stderr=log) as agent:
        wait_until(lambda: "no broker" in (tmp_path / "host.log").read_text())
        wait_until(lambda: "no broker" in controller.log())
        assert_silent(
            (tmp_path / "host.log").read_text(),
            controller.log(),
            controller.get("/readyz").text,
            controller.get("/metrics").text,
            command_line(agent.pid),
        )
        agent.terminate()


def test_a_controller_without_its_database_tells_no_secret(postgresql_server, tmp_path, wait_until):
    """PostgreSQL trusts everybody there, and nobody from a database that is not. A server that
    may come back is waited for; a URL that is wrong is the end.
    """
    address = f"127.0.0.1:{postgresql_server.port}/nowhere"
    log = tmp_path / "log"
    for url, waits in (
        (f"postgresql+psycopg://somebody:{MARK}-db@{address}", True),
        (f"postgresql+psycopg://somebody@{address}?password={MARK}-query", True),
        (f"postgresql+psycopg://somebody:{MARK}-db@127.0.0.1:{free_port()}/d", True),
        (f"postgresql+nonsense://somebody:{MARK}-db@{address}", False),
        (f"somebody:{MARK}-db@{address}", False),
        (f"postgresql+psycopg://somebody:{MARK}-db@127.0.0.1:port/d", False),
    ):
        settings = tmp_path / "controller.conf"
        settings.write_text(
            "[DEFAULT]\ndebug = true\n[bus]\nurl = mqtt://embedded:0\n"
            f"[database]\nconnection = {url}\n[api]\nlisten = 127.0.0.1:{free_port()}\n"
        )
        command = [sys.executable, "-m", "reachthru.controller_server.cli"]
        with (
            log.open("w") as output,
            subprocess.Popen(
                [*command, "--config-file", settings], stdout=output, stderr=output
            ) as controller,
        ):
            if waits:
                wait_until(lambda: "; waiting for it" in log.read_text(), 60)
                controller.terminate()
            assert controller.wait(60) in ((0,) if waits else (1, 2)), log.read_text()
        assert "[database] connection" in log.read_text()
        assert_silent(log.read_text())
