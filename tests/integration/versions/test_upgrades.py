"""Guest, agent and controller are upgraded, and rolled back, one after the other, faults flowing.

The next release is today's code under another number, its database with a table more. The packages
themselves are upgraded and rolled back in tests/e2e/packages.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from pathlib import Path

import pytest

import reachthru
from lab.cloud import Cloud
from reachthru.controller_server.store import schema
from reachthru.demo.consumer import Consumer

HOSTS = ("host-a", "host-b")
PACKAGE = Path(reachthru.__file__).parent
WELL_INTERVAL_MS = 2000  # a crowded machine is no sick guest
ILL_INTERVAL_MS = 200
NEXT = "99.0"
MIGRATION = """
import sqlalchemy as sa
from alembic import op

down_revision = "{0:04d}"
revision = f"{{int(down_revision) + 1:04d}}"

def upgrade():
    op.create_table("of_the_next_release", sa.Column("id", sa.Integer, primary_key=True))
"""


class RealGuest:
    """Our daemon, as a process; it stands for QEMU's end of its port."""

    def __init__(self, cloud: Cloud, host: str) -> None:
        self.uuid = str(uuid.uuid4())
        self._settings = cloud.folder / f"{self.uuid[:8]}.toml"
        self._log = self._settings.with_suffix(".log")
        self._settings.write_text(
            f'[channel]\nport = "unix://{cloud.ports(host)}/cgcs.messaging.{self.uuid}.sock"\n'
            f"[heartbeat]\ninterval_ms = {WELL_INTERVAL_MS}\n"
            f'[applications]\nsocket = "{cloud.folder}/{self.uuid[:8]}.sock"\n'
        )

    def start(self, release: Path | None = None) -> None:
        environment = {**os.environ} | ({"PYTHONPATH": str(release)} if release else {})
        command = [sys.executable, "-m", "reachthru.guest_daemon", "run", "--config"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, self._settings], stderr=log, env=environment
            )

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(20) == 0, self._log.read_text()

    def greetings(self) -> list[str]:
        """The version at each start."""
        lines = self._log.read_text().splitlines()
        greetings = [line for line in lines if " health checks, by " in line]
        return [line.split("reachthru-guest ")[1].split(":")[0] for line in greetings]


@pytest.fixture(scope="module")
def next_release(tmp_path_factory) -> Path:
    """What PYTHONPATH names to run its daemons."""
    folder = tmp_path_factory.mktemp("next")
    shutil.copytree(PACKAGE, folder / "reachthru", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "reachthru/__init__.py").write_text(f'__version__ = "{NEXT}"\n')
    migrations = folder / "reachthru/controller_server/store/migrations/versions"
    (migrations / "next.py").write_text(MIGRATION.format(schema.own_version()))
    return folder


@pytest.fixture
async def cloud():
    with tempfile.TemporaryDirectory(prefix="rt-") as folder, Consumer() as consumer:
        cloud = Cloud(Path(folder), HOSTS)
        cloud.consumer = consumer
        cloud.extra_group_settings = (
            f"[sinks]\nenabled = webhook\n[sink_webhook]\nurl = {consumer.url}\n"
        )
        try:
            yield cloud
        finally:
            await cloud.close()
            print(cloud.logs())


async def fall_ill_and_recover(cloud: Cloud, guest, well: asyncio.Event) -> None:
    """Again and again, until `well` is set; at the end it is well."""
    while not well.is_set():
        guest.beats = False
        await asyncio.sleep(1.0)
        await guest.connected.wait()
        guest.register(ILL_INTERVAL_MS)
        await asyncio.sleep(0.7)


async def restart(cloud: Cloud, part: str, release: Path | None) -> None:
    cloud.releases.pop(part, None)
    if release is not None:
        cloud.releases[part] = release
    process = cloud.processes[part]
    cloud.signal(part, signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 30) == 0
    if part == "controller":
        await cloud.start_controller()
    else:
        cloud.start_agent(part)


def detected(cloud: Cloud) -> Counter[tuple[str, str, str]]:
    """(instance, kind, raised or cleared), as the agents' logs have them."""
    found: Counter[tuple[str, str, str]] = Counter()
    for host in HOSTS:
        for line in (cloud.folder / f"{host}.log").read_text().splitlines():
            words = line.split("reachthru.faults: ")[-1].split()
            if "reachthru.faults: " in line and words[3].rstrip(":") in ("raised", "cleared"):
                found[words[0], words[2], words[3].rstrip(":")] += 1
    return found


def told(cloud: Cloud) -> Counter[tuple[str, str, str]]:
    faults = [delivery.fault for delivery in cloud.consumer.deliveries()]
    changes = {(fault["id"], fault["status"]): fault for fault in faults}.values()
    return Counter((one["instance_uuid"], one["kind"], one["status"]) for one in changes)


def database_version(cloud: Cloud) -> int:
    with contextlib.closing(sqlite3.connect(cloud.folder / "controller.sqlite")) as database:
        return int(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


async def test_upgrades_and_rollbacks_raise_no_false_fault_and_lose_none(cloud, next_release):
    await cloud.start()
    real = [RealGuest(cloud, host) for host in HOSTS]
    for guest in real:
        guest.start()
    ill = [await cloud.guest(host) for host in HOSTS for _ in range(2)]
    for guest in ill:
        guest.register(ILL_INTERVAL_MS)

    def all_registered() -> bool:
        known = {one["uuid"]: one for one in cloud.get("/v1/instances").get("instances", [])}
        return all(known.get(guest.uuid, {}).get("registered") for guest in real)

    await cloud.until(all_registered)
    well = asyncio.Event()
    flapping = [asyncio.create_task(fall_ill_and_recover(cloud, guest, well)) for guest in ill]
    for release in (next_release, None):
        for guest in real:
            guest.stop()
            guest.start(release)
        await cloud.until(all_registered)
        for part in (*HOSTS, "controller"):
            await restart(cloud, part, release)
            before = sum(told(cloud).values())
            await cloud.until(lambda n=before: sum(told(cloud).values()) >= n + 4)
            await cloud.until(all_registered)
    assert database_version(cloud) == schema.own_version() + 1  # and the older one works with it
    well.set()
    await asyncio.gather(*flapping)
    await cloud.until(lambda: not cloud.get("/v1/faults?active=true").get("faults", [1]))
    await cloud.until(lambda: told(cloud) == detected(cloud))
    changes = told(cloud)
    print(f"{sum(changes.values())} changes: {changes}")
    assert {instance for instance, _kind, _status in changes} == {guest.uuid for guest in ill}
    assert {kind for _instance, kind, _status in changes} == {"heartbeat_lost"}
    for guest in ill:
        raised, cleared = (
            changes[guest.uuid, "heartbeat_lost", status] for status in ("raised", "cleared")
        )
        assert raised == cleared > 0
    for guest in real:
        assert guest.greetings() == [reachthru.__version__, NEXT, reachthru.__version__]
        guest.stop()


async def test_a_controller_two_versions_older_than_its_database_says_what_to_do(cloud):
    await cloud.start_controller()
    cloud.kill("controller")
    with contextlib.closing(sqlite3.connect(cloud.folder / "controller.sqlite")) as database:
        two_more = f"{schema.own_version() + 2:04d}"
        database.execute("UPDATE alembic_version SET version_num = ?", (two_more,))
        database.commit()
    settings = cloud.folder / "controller.conf"
    command = [sys.executable, "-m", "reachthru.controller_server.cli", "--config-file", settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "[database] connection" in line
    assert f"its schema is version {two_more}" in line
    assert "upgrade this controller" in line
