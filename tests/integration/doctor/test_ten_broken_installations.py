"""`reachthru doctor` finds what is wrong with each of these installations, and nothing else."""

import datetime
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from integration.doctor.conftest import examine, examine_beside, until
from integration.host_agent.small_disk import small_disk
from lab.controllers import Agent, Controller, Webhook
from lab.controllers import until as until_async
from reachthru import __version__
from reachthru.demo.libvirt_daemons import libvirt_running
from servers.mosquitto import MosquittoServer
from servers.ports import free_port

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

# --- a VM --------------------------------------------------------------------------------------


def guest_settings(folder, port):
    path = folder / "guest.toml"
    path.write_text(f'[channel]\nport = "{port}"\n[applications]\nsocket = "{folder}/guest.sock"\n')
    return path


# The interpreter may be where only root can read: all is imported before the user changes.
AS_NOBODY = """
import importlib, os, pkgutil, sys
import reachthru.guest_daemon as package
for found in pkgutil.walk_packages(package.__path__, "reachthru.guest_daemon."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
os.setgroups([]), os.setgid(65534), os.setuid(65534)
from reachthru.guest_daemon.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_guest(spawn, folder, settings, program=("-m", "reachthru.guest_daemon")):
    log = folder / "guest.log"
    spawn(sys.executable, *program, "run", "--config", settings, log=log)
    until((folder / "guest.sock").exists, log)


def test_1_a_port_of_another_name(folder, spawn):
    settings = guest_settings(folder, "virtio:///dev/virtio-ports/cgcs.massaging")
    run_guest(spawn, folder, settings)
    found = examine("guest", settings)
    assert "cgcs.massaging does not exist" in found.the_wrong("port")
    assert "No such file" in found.the_wrong("attachment")
    assert len(found.wrong()) == 2


def test_2_a_port_that_the_daemons_user_may_not_open(folder, spawn):
    with socket.socket(socket.AF_UNIX) as port:
        port.bind(f"{folder}/port")
        port.listen()
        (folder / "port").chmod(0o600)
        settings = guest_settings(folder, f"unix://{folder}/port")
        run_guest(spawn, folder, settings, ("-c", AS_NOBODY))
        found = examine("guest", settings)
    assert "daemon's user, nobody" in found.the_wrong("port")
    assert "Permission denied" in found.the_wrong("attachment")
    assert len(found.wrong()) == 2


# --- a compute node ----------------------------------------------------------------------------


def test_a_compute_node_that_is_well(host):
    with libvirt_running():
        settings = host(discovery="driver = libvirt")
        found = examine("host", settings)
    assert found.wrong() == []
    checks = {one["check"]: one["text"] for one in found}
    assert "version" in checks["libvirt"]
    assert "runs, process" in checks["agent"]


def test_3_libvirt_is_stopped(host, folder):
    uri = f"qemu:///system?socket={folder}/libvirt-sock"
    settings = host(discovery="driver = libvirt", libvirt=f"connection_uri = {uri}")
    found = examine("host", settings)
    assert "No such file or directory" in found.the_wrong("libvirt")
    assert len(found.wrong()) == 1


def test_4_no_broker_is_there(host):
    found = examine("host", host(bus=f"url = mqtt://127.0.0.1:{free_port()}"))
    assert "connection refused" in found.the_wrong("broker")
    assert len(found.wrong()) == 1


def test_5_mosquitto_refuses_the_password(host, folder):
    passwords = folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "host", "right"], check=True)
    secret = folder / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    login = f"username = host\npassword_file = {secret}"
    more = f"allow_anonymous false\npassword_file {passwords}"
    with MosquittoServer(folder, more=more) as server:
        settings = host(run=False, bus=f"url = {server.url}\n{login}")
        assert "password" in examine("host", settings).the_wrong("broker")
        secret.write_text("right\n")
        assert "broker" not in str(examine("host", settings).wrong())


@pytest.mark.xdist_group("rabbitmq")
def test_5_rabbitmq_refuses_the_password(host, rabbitmq_server, folder):
    secret = folder / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    url = f"url = rabbit://127.0.0.1:{rabbitmq_server.port}"
    settings = host(run=False, bus=f"{url}\nusername = guest\npassword_file = {secret}")
    assert "password" in examine("host", settings).the_wrong("broker")
    secret.write_text("guest\n")
    assert "broker" not in str(examine("host", settings).wrong())


def listen_with(folder, certificate):
    """Mosquitto's settings for it."""
    (folder / "server.key").write_bytes(certificate.private_key_pem.bytes())
    (folder / "server.pem").write_bytes(b"".join(p.bytes() for p in certificate.cert_chain_pems))
    return f"certfile {folder}/server.pem\nkeyfile {folder}/server.key"


def expired(authority):
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    return authority.issue_cert(
        "127.0.0.1", not_before=before, not_after=before + datetime.timedelta(days=1)
    )


@pytest.mark.parametrize(
    ("trusted", "issue", "why", "remedy"),
    [
        ("own", expired, "certificate has expired", "renew the broker's"),
        ("other", lambda ca: ca.issue_cert("127.0.0.1"), "not trusted", "[bus] ca_file"),
    ],
)
def test_6_the_brokers_certificate(host, folder, trusted, issue, why, remedy):
    authorities = {"own": trustme.CA(), "other": trustme.CA()}
    authorities[trusted].cert_pem.write_to_path(str(folder / "ca.pem"))
    with MosquittoServer(folder, more=listen_with(folder, issue(authorities["own"]))) as server:
        url = f"mqtts://127.0.0.1:{server.port}"
        settings = host(run=False, bus=f"url = {url}\nca_file = {folder}/ca.pem")
        found = examine("host", settings)
    assert why in found.the_wrong("broker")
    assert remedy in str(found)


def test_7_the_outboxs_disk_is_full(host, folder):
    with small_disk(folder / "disk") as disk:
        settings = host(outbox=f"path = {disk.path}/outbox.sqlite")
        disk.fill()
        found = examine("host", settings)
        assert "No space left" in found.the_wrong("outbox")
        assert len(found.wrong()) == 1


def test_7_the_outboxs_file_system_is_read_only(host, folder):
    with small_disk(folder / "disk") as disk:
        settings = host(run=False, outbox=f"path = {disk.path}/outbox.sqlite")
        disk.make_read_only()
        assert "Read-only file system" in examine("host", settings).the_wrong("outbox")


def test_8_two_agents_of_one_host(host):
    host()
    found = examine("host", host())
    assert "2 agents run" in found.the_wrong("agent")
    assert len(found.wrong()) == 1


def test_9_no_agent_runs(host):
    found = examine("host", host(run=False))
    assert "no host agent runs" in found.the_wrong("agent")
    assert len(found.wrong()) == 1


# --- a controller ------------------------------------------------------------------------------


def controller_settings(broker, url, sinks=""):
    return f"[bus]\nurl = {broker.url}\n[database]\nconnection = {url}\n{sinks}"


@pytest.fixture
async def controller(broker, tmp_path):
    """controller(database URL, sinks) -> one that runs."""
    running = []

    async def start(url, sinks=""):
        one = Controller(tmp_path / f"c{len(running)}", controller_settings(broker, url, sinks))
        running.append(one)
        await one.start()
        return one

    yield start
    for one in running:
        await one.kill()


def written(path, broker, url, port=None):
    """The settings of a controller that does not run."""
    path.write_text(
        f"{controller_settings(broker, url)}[api]\nlisten = 127.0.0.1:{port or free_port()}\n"
    )
    return path


def test_10_the_database_is_away(broker, tmp_path):
    url = f"postgresql+psycopg://postgres@127.0.0.1:{free_port()}/reachthru"
    found = examine("controller", written(tmp_path / "c.conf", broker, url))
    assert "refused" in found.the_wrong("database").lower()


def test_11_the_database_is_of_a_newer_release(broker, tmp_path, postgresql_url, postgresql_server):
    database = postgresql_url.rpartition("/")[2]
    postgresql_server.execute("UPDATE alembic_version SET version_num = '9999'", database)
    found = examine("controller", written(tmp_path / "c.conf", broker, postgresql_url))
    assert "schema is version 9999" in found.the_wrong("schema")


def test_12_the_clock_is_off_by_an_hour(broker, tmp_path, postgresql_url):
    settings = written(tmp_path / "c.conf", broker, postgresql_url)
    done = subprocess.run(
        [sys.executable, "-m", "reachthru.cli", "doctor", "--role", "controller", "--config-file",
         settings, "--json"],
        env=os.environ | {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+1h"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    clock = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "clock"]
    assert [(f["mark"], "1.0 h behind" in f["text"]) for f in clock] == [("wrong", True)]
    assert "chrony" in clock[0]["remedy"]


def test_13_somebody_else_has_the_apis_port(broker, tmp_path, postgresql_url, spawn):
    port = free_port()
    log = tmp_path / "log"
    spawn(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", log=log)
    settings = written(tmp_path / "c.conf", broker, postgresql_url, port)

    def listens():
        with socket.socket() as door:
            return door.connect_ex(("127.0.0.1", port)) == 0

    until(listens, log)
    found = examine("controller", settings)
    assert f"port {port} is python" in found.the_wrong("REST")
    assert len(found.wrong()) == 1


async def test_14_an_agent_that_speaks_another_protocol(
    controller, broker, postgresql_url, monkeypatch
):
    running = await controller(postgresql_url)
    settings = running._settings
    monkeypatch.setattr("lab.controllers.AGENT_VERSION", __version__)
    async with Agent(broker.url, "compute-1", []) as agent:
        await until_async(lambda: agent.bus.connected)
        while not (await running.get("/v1/hosts"))["hosts"]:
            await agent.report()
        assert (await examine_beside("controller", settings)).wrong() == []  # all is well
        monkeypatch.setattr("lab.controllers.AGENT_VERSION", "9.4.0")
        while (await running.get("/v1/hosts"))["hosts"][0]["agent_version"] != "9.4.0":
            await agent.report()
        found = await examine_beside("controller", settings)
    assert "9.4.0" in found.the_wrong("host compute-1")
    assert len(found.wrong()) == 1


async def test_a_controller_that_was_not_started_again_after_an_upgrade(
    controller, postgresql_url, monkeypatch
):
    running = await controller(postgresql_url)

    async def said():
        found = await examine_beside("controller", running._settings)
        (one,) = [one for one in found if one["check"] == "controller"]
        return one["mark"], one["text"], one["remedy"]

    mark, text, _remedy = await said()
    assert (mark, text.partition(", ")[2]) == ("ok", f"leader, version {__version__}")
    monkeypatch.setattr("reachthru.doctor.controller.__version__", "0.1.99")
    mark, text, remedy = await said()
    assert mark == "warning" and "0.1.99 is installed" in text
    assert remedy == "systemctl restart reachthru-controller"


async def test_15_a_sink_is_away_and_much_waits_for_it(controller, broker, postgresql_url):
    async with Webhook() as webhook:
        url = webhook.url
    sinks = f"[sinks]\nenabled = webhook\n[sink_webhook]\nurl = {url}\n"
    running = await controller(postgresql_url, sinks)
    async with Agent(broker.url, "compute-2", ["u1"]) as agent:
        while not (await running.get("/v1/instances"))["instances"]:
            await agent.report()
        agent.change("u1", "raised")
        await until_async(lambda: not agent.waiting)
        found = await examine_beside("controller", running._settings)
    text = found.the_wrong("sink webhook")
    assert "refused" in text
    assert "1 changes wait for it" in text
