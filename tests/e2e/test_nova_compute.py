"""From a flavor to a heartbeat: Nova's own code, with our driver, makes a VM of real libvirt's."""

import contextlib
import importlib.util
import os
import signal
import tempfile
import time
from pathlib import Path

import libvirt
import pytest

from lab.nova_compute import ComputeCloud, NovaEnvironment, Program
from reachthru.demo.archive import Archive
from reachthru.demo.libvirt_daemons import CONNECTION_URI, remove
from reachthru.demo.vm import KERNEL_ARGUMENTS

HERE = Path(__file__).parent
BOOT_TIMEOUT_S = 180  # two boots of an emulated machine, on a shared one
pytestmark = pytest.mark.timeout(600)
ASKS = {"ha:guest_heartbeat": "true"}
PORT = "cgcs.messaging"
SETTINGS = b"""
[heartbeat]
service_level = "SAL1"
"""
SAL1_INTERVAL_MS = 400


@pytest.fixture(scope="module")
def folder():
    """QEMU, which is not root, may look into it."""
    with tempfile.TemporaryDirectory(prefix="reachthru-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def cloud(libvirt_stack, libvirt_image, folder, witness):
    """One compute host, on the libvirt that the stack's host agent watches."""
    initramfs = folder / "initramfs"
    settings = Archive()
    settings.add_file("/etc/reachthru/guest.toml", SETTINGS)
    initramfs.write_bytes(libvirt_image.initramfs.read_bytes() + settings.compressed())
    library = folder / "libvirt-python"  # .venv-nova has none: it must be the machine's version
    library.mkdir()
    for path in Path(importlib.util.find_spec("libvirt").origin).parent.glob("libvirt*.*"):
        if path.suffix in (".py", ".so"):
            (library / path.name).symlink_to(path)
    instances = folder / "instances"
    instances.mkdir()
    arguments = (libvirt_image.kernel, initramfs, instances, KERNEL_ARGUMENTS)
    environment = NovaEnvironment(folder / "nova")
    program = Program(environment, HERE / "nova_on_libvirt.py", *arguments, more_path=(library,))
    forget = witness("Nova", program.log)
    yield ComputeCloud(program)
    program.close()
    forget()


@pytest.fixture(scope="module")
def servers(cloud, libvirt_connection):
    """(one that asks for nothing, one that asks for a heartbeat)"""
    booted = []
    try:
        booted.append(cloud.server())
        cloud.compute.pause_server(booted[0])  # the other one needs the processor
        booted.append(cloud.server(ASKS))
        yield booted
    finally:
        for server in booted:
            with contextlib.suppress(libvirt.libvirtError):
                remove(libvirt_connection.lookupByUUIDString(server.id))


@pytest.fixture(scope="module")
def libvirt_connection(libvirt_stack):
    with contextlib.closing(libvirt.open(CONNECTION_URI)) as connection:
        yield connection


@pytest.fixture(scope="module")
def asking(servers, libvirt_stack):
    libvirt_stack.wait_registered(servers[1].id, BOOT_TIMEOUT_S)
    return servers[1]


@pytest.fixture
def watch(watch_of, libvirt_stack, asking):
    return watch_of(libvirt_stack, asking.id)


def test_a_flavor_that_asks_gives_a_vm_that_is_heartbeated(cloud, libvirt_stack, asking, watch):
    watch.wait_well(BOOT_TIMEOUT_S)
    instance = libvirt_stack.instance(asking.id)
    assert instance["name"] == asking.name
    assert instance["host"] == asking.compute_host
    assert instance["interval_ms"] == SAL1_INTERVAL_MS
    assert list(cloud.ports(asking)) == [PORT]


def test_a_flavor_that_does_not_ask_gives_a_vm_that_nobody_knows(
    cloud, libvirt_stack, servers, asking
):
    """It booted before the other one, which is known by now."""
    plain = servers[0]
    assert cloud.ports(plain) == {}
    assert libvirt_stack.instance(plain.id) == {}


def test_its_fault_is_told_and_ends_with_novas_hard_reboot(cloud, libvirt_stack, asking, watch):
    watch.wait_well(BOOT_TIMEOUT_S)
    killed_at = time.monotonic()
    os.kill(int(Path(f"/run/libvirt/qemu/{asking.instance_name}.pid").read_text()), signal.SIGKILL)
    watch.expect("instance_lost", "raised", killed_at)
    cloud.compute.reboot_server(asking, "HARD")
    watch.expect("instance_lost", "cleared", killed_at, BOOT_TIMEOUT_S)
    cloud.settled(asking, "active")
    assert list(cloud.ports(asking)) == [PORT]


def test_nova_deletes_it_and_nothing_is_blamed(cloud, libvirt_stack, asking, watch):
    watch.wait_well(BOOT_TIMEOUT_S)
    since = time.monotonic()
    cloud.compute.delete_server(asking)
    libvirt_stack.wait_until(lambda: not libvirt_stack.instance(asking.id), "its end", 60)
    assert watch.heard(since) == []
