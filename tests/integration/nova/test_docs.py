"""docs/openstack/README.md: each of its commands is run, in order, and says what it shows there.

OpenStackClient, Keystone, Nova, RabbitMQ, the controller, the host agents and the guests' daemons
are real. The hypervisor is Nova's fake, so a process stands for each virtual machine: its daemon,
at a socket in the place of QEMU's. It is stopped where the machine's kernel would panic.
"""

import asyncio
import json
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lab.cloud import Cloud

pytestmark = pytest.mark.xdist_group("nova")  # one Nova and one RabbitMQ for all

PAGE = Path(__file__).parents[3] / "docs/openstack/README.md"
PROMPTS = ("$ openstack ", "vm-1# ")
HOSTS = ("compute-0", "compute-1")
NAMES = ("vm-1", "vm-2")


def commands_of(page):
    """(command with its prompt, what it shows there) of each, in their order."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S):
        for line in block.splitlines():
            if line.startswith(PROMPTS):
                found.append((line, []))
            else:
                found[-1][1].append(line)
    return found


def headings(lines):
    """What a table names: its columns, or its fields."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    if rows and rows[0] == ["Field", "Value"]:
        return [field for field, _value in rows if field]
    return rows[0] if rows else []


class Machine:
    """What runs in a server: the guest daemon of its image."""

    def __init__(self, folder, ports, uuid):
        self._socket = ports / f"cgcs.messaging.{uuid}.sock"
        self._log = folder / f"{uuid}.log"
        self._settings = folder / f"{uuid}.toml"
        self._settings.write_text(
            f'[channel]\nport = "unix://{self._socket}"\n'
            f'[heartbeat]\ninterval_ms = 1000\n[applications]\nsocket = "{folder}/{uuid[:8]}"\n'
        )
        self.boot()

    def boot(self):
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *[sys.executable, "-m", "reachthru.guest_daemon", "run"],
                    *["--config", self._settings],
                ],
                stderr=log,
            )

    def panic(self):
        self._process.send_signal(signal.SIGSTOP)

    def power_off(self):
        self._socket.unlink(missing_ok=True)  # as whoever runs the hypervisor does
        self._process.kill()
        self._process.wait()


class Site:
    """Everything of the page, and what happens beside its commands."""

    def __init__(self, cloud, nova):
        self.cloud, self._nova = cloud, nova
        self.machines = {}  # by name
        self.ids = {}

    async def boot(self):
        """What a compute node does with a server whose flavor wants the port."""
        servers = await asyncio.to_thread(
            lambda: list(self._nova.compute().servers(all_projects=True))
        )
        for server in servers:
            if server.name in NAMES:
                await asyncio.to_thread(self._nova.settled, server)
                ports = self.cloud.ports(server.compute_host or server.hypervisor_hostname)
                self.ids[server.name] = server.id
                self.machines[server.name] = Machine(self.cloud.folder, ports, server.id)
        await self.cloud.until(
            lambda: [one["health"] for one in self._instances()] == ["healthy", "healthy"]
        )
        await self.cloud.until(
            lambda: any(len(one["members"]) == 2 for one in self.cloud.get("/v1/groups")["groups"])
        )

    def _instances(self):
        return self.cloud.get("/v1/instances").get("instances", [])

    def faults(self, name, status):
        found = self.cloud.get(f"/v1/faults?instance={self.ids[name]}").get("faults", [])
        return [fault for fault in found if fault["status"] == status]

    async def beside(self, command):
        """What a command brings about where OpenStackClient does not look."""
        if command.startswith("$ openstack server create"):
            await self.boot()
        elif command.startswith("vm-1# "):
            self.machines["vm-1"].panic()
            await self.cloud.until(lambda: self.faults("vm-1", "raised"))
        elif command.startswith("$ openstack server reboot"):
            self.machines["vm-1"].power_off()
            self.machines["vm-1"].boot()
            await self.cloud.until(lambda: not self.faults("vm-1", "raised"))


def forget(nova, keystone):
    """Other tests have the same Nova and Keystone."""
    compute = nova.compute()
    for server in compute.servers(all_projects=True):
        if server.name in NAMES:
            compute.delete_server(server)
            compute.wait_for_delete(server)
    for group in compute.get("/os-server-groups?all_projects=True").json()["server_groups"]:
        if group["name"] == "vnf":
            compute.delete_server_group(group["id"])
    compute.delete_flavor(compute.find_flavor("watched") or "none")
    keystone.forget("compute", "image", "guest-health")


@pytest.fixture
async def site(nova, rabbit, keystone):
    keystone.endpoint("compute", nova.url)
    keystone.endpoint("image", nova.url.replace("/v2.1", "/image"))
    nova.keystone_file.write_text(json.dumps({"url": keystone.url, "ca": str(keystone.ca)}))
    admin = {
        "auth_type": "password",
        "cafile": keystone.ca,
        "region_name": "one",
        **keystone.auth("admin", project_name="admin"),
    }
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:  # sockets' paths are short
        cloud = Cloud(Path(folder), HOSTS)
        cloud.groups_source = f"[nova]\nnotifications_url = {rabbit.url}\n" + "".join(
            f"{name} = {value}\n" for name, value in admin.items()
        )
        site = Site(cloud, nova)
        try:
            await cloud.start()
            yield site
        finally:
            for machine in site.machines.values():
                machine.power_off()
            await cloud.close()
            print(cloud.logs())
            await asyncio.to_thread(forget, nova, keystone)


@pytest.mark.timeout(600)  # on a busy machine the servers take minutes to start
async def test_from_a_flavor_to_an_alarm(site, nova, openstack, keystone):
    environment = keystone.environment("admin", project_name="admin")
    here = {"https://controller.example:8780": site.cloud.url, "RegionOne": "one"}
    said = {}

    for command, shown in commands_of(PAGE.read_text()):
        if command.startswith("$ openstack "):
            words = [here.get(word, word) for word in shlex.split(command)[2:]]
            done = await asyncio.to_thread(openstack, *words, **environment)
            assert (done.code, done.error.strip()) == (0, ""), (command, done)
            if shown:
                assert headings(done.out.splitlines()) == headings(shown), command
            said[command] = done.out
        await site.beside(command)

    assert len(said) == 2 + 9  # once for a cloud; one of the ten is in the machine
    flavor = await asyncio.to_thread(nova.compute().find_flavor, "watched", get_extra_specs=True)
    assert flavor.extra_specs == {"ha:guest_heartbeat": "true", "ha:server_group_messaging": "true"}
    health, group, active, past = list(said.values())[-5:-2] + list(said.values())[-1:]
    assert site.ids["vm-1"] in health and "healthy" in health
    assert "vnf" in group and all(f"{site.ids[name]}  {name}" in group for name in site.ids)
    for told, status in ((active, "raised"), (past, "cleared")):
        assert site.ids["vm-1"] in told and "heartbeat_lost" in told and status in told
