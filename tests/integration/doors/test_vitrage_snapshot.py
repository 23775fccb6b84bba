"""Vitrage's datasource reads every active fault of a controller, through each of its locks."""

import asyncio
import json
import subprocess

import pytest

from lab.controllers import Agent, until
from lab.vitrage import PROGRAMS, environment, uuids, write_settings
from reachthru.certificates import client_tls

pytestmark = pytest.mark.xdist_group("rest")

TOKEN = "vitrage-s-token"

# Each line of its input is a case: options of [reachthru]. Its answer: ids, or an error.
DRIVER = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from vitrage.common import config
config.parse_config(["vitrage", "--config-file", sys.argv[1]])
from oslo_config import cfg
from reachthru.openstack_plugins.vitrage.reachthru import driver, snapshot
snapshot.PAGE = 2
for line in sys.stdin:
    case = json.loads(line)
    for name, value in case.items():
        cfg.CONF.set_override(name, value, group="reachthru")
    try:
        found = [event["reachthru_fault"]["id"] for event in driver.FaultDriver().get_all("update")]
    except snapshot.SnapshotError as error:
        found = str(error)
    for name in case:
        cfg.CONF.clear_override(name, group="reachthru")
    print(json.dumps(found), file=answers, flush=True)
"""


@pytest.fixture(scope="module")
def locked(start_controller, pki, secret_file):
    """Who asks needs a certificate and a token; five faults are active, one is not."""
    certificate, key = pki.server("127.0.0.1")
    controller = start_controller(
        f"auth = token\nreader_token_file = {secret_file('readers', TOKEN)}\n"
        f"tls_cert_file = {certificate}\ntls_key_file = {key}\ntls_client_ca_file = {pki.ca}\n",
        tls=client_tls(pki.ca, *pki.client("operator")),
    )
    *active, over = instances = uuids(6)

    async def fail():
        url = controller.bus_url.replace("embedded", "127.0.0.1")
        async with Agent(url, "compute-0", instances) as agent:
            for instance in instances:
                agent.change(instance, "raised")
            agent.change(over, "cleared")
            await until(lambda: not agent.waiting)

    asyncio.run(fail())
    controller.active = {f"{instance}-0" for instance in active}
    return controller


@pytest.fixture(scope="module")
def snapshot(locked, pki, secret_file, tmp_path_factory):
    """snapshot(**options): what the driver finds with them, besides what is right."""
    folder = tmp_path_factory.mktemp("vitrage")
    certificate, key = pki.client("vitrage")
    right = {
        "url": [locked.url],
        "auth": "token",
        "token_file": str(secret_file("vitrage", f"{TOKEN}\n")),
        "ca_file": str(pki.ca),
        "cert_file": str(certificate),
        "key_file": str(key),
    }
    settings = write_settings(folder, bus_url="fake://", controller_url=locked.url)
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [PROGRAMS / "python", "-c", DRIVER, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(),
        ) as process,
    ):

        def ask(**options):
            print(json.dumps(right | options), file=process.stdin, flush=True)
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()[-3000:]
            return json.loads(line)

        yield ask
        process.stdin.close()


def test_every_active_fault_is_found_page_by_page(snapshot, locked):
    assert sorted(snapshot()) == sorted(locked.active)


def test_the_first_controller_that_answers_is_heard(snapshot, locked):
    assert set(snapshot(url=["https://127.0.0.1:9", locked.url])) == locked.active


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"auth": "none"}, "401"),
        ({"ca_file": ""}, "certificate verify failed"),
        ({"ca_file": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
        ({"cert_file": ""}, "[reachthru] cert_file"),
        ({"cert_file": "/nowhere/cert.pem"}, "/nowhere/cert.pem"),
        ({"token_file": "/nowhere/token"}, "[reachthru] token_file = /nowhere/token"),
        ({"url": []}, "[reachthru] url is empty"),
        ({"url": ["http://127.0.0.1:9"]}, "http://127.0.0.1:9: Connection refused"),
    ],
)
def test_what_keeps_it_out_is_said_and_no_snapshot_is_made(snapshot, options, words):
    said = snapshot(**options)
    assert isinstance(said, str)
    assert said.startswith(("no snapshot of faults: ", "[reachthru]"))
    assert words in said
    assert TOKEN not in said
    assert "\n" not in said
