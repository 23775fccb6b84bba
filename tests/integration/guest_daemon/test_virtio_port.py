"""The daemon in a real VM, on a real virtio-serial port, which behaves like no pipe or socket."""

import os
import time
from pathlib import Path

import pytest

from reachthru.demo.image import build_image
from reachthru.demo.qemu_vm import QemuVm

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

BUILD_DIR = Path(__file__).resolve().parents[3] / "build"
SETTINGS = '[heartbeat]\nservice_level = "SAL1"\n'
HOST_CYCLES = 100
DAEMON_CYCLES = 10
RELINK = (  # as udev does
    "for port in /sys/class/virtio-ports/*; do"
    " ln -sf /dev/${port##*/} /dev/virtio-ports/$(cat $port/name); done"
)


@pytest.fixture(scope="module")
def vm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vm")
    image = build_image(BUILD_DIR, guest_agent=True)
    with QemuVm(image, folder, folder, SETTINGS) as vm:
        vm.wait_until_up()
        yield vm


@pytest.fixture
def host(vm, attach):
    """Connects to the VM's port, as often as a test likes."""
    return lambda: attach(vm.port_path)


def cpu_s(vm):
    """What the daemon has used, in the guest's own (emulated, slow) seconds."""
    text = vm.run("cat /proc/$(cat /run/reachthru/daemon.pid)/schedstat").output
    return int(text.split()[0]) / 1e9


def test_with_no_host_it_costs_next_to_nothing(vm, wait_until):
    wait_until(lambda: "cgcs.messaging: open" in vm.console_text())
    before_s = cpu_s(vm)
    time.sleep(5)
    # Emulation makes everything some 20 times dearer; spinning would be 5.
    assert cpu_s(vm) - before_s < 0.25


def test_a_host_that_connects_later_is_found_at_once(host):
    connected_at = time.monotonic()
    peer = host()
    peer.register()
    assert time.monotonic() - connected_at < 0.6
    assert peer.challenge(1)["heartbeat_response"] == 1
    peer.close()


def test_the_channel_comes_up_every_time_that_a_host_connects(host):
    for number in range(HOST_CYCLES):
        peer = host()
        peer.register()
        assert peer.challenge(number)["heartbeat_response"] == number
        peer.close()
        time.sleep(0.02)  # an agent's restart is no faster


def test_a_host_that_connects_before_the_guest_opens_is_served(vm, host):
    for number in range(DAEMON_CYCLES):
        vm.stop_daemon()
        peer = host()
        peer.send(msg_type="challenge", heartbeat_challenge=424_242)  # nobody is there to read it
        vm.start_daemon()
        peer.register(timeout_s=10)
        assert peer.challenge(number)["heartbeat_response"] == number
        vm.stop_daemon()
        assert peer.receive_type("exit")
        peer.close()
    vm.start_daemon()


def test_a_host_that_does_not_read_blocks_nothing_and_gets_no_endless_burst(vm, host):
    peer = host()
    peer.register()
    os.set_blocking(peer.fd, False)
    before_s = cpu_s(vm)
    until = time.monotonic() + 10
    number = 0
    while time.monotonic() < until:
        number += 1
        try:
            os.write(peer.fd, peer.frame(msg_type="challenge", heartbeat_challenge=number))
        except BlockingIOError:
            pytest.fail("the guest stopped reading")
        time.sleep(0.005)
    assert cpu_s(vm) - before_s < 8
    os.set_blocking(peer.fd, True)
    peer.send(msg_type="challenge", heartbeat_challenge=999_999)
    backlog = 0
    while peer.receive_type("challenge_response")["heartbeat_response"] != 999_999:
        backlog += 1
    assert number > 1000
    assert backlog < number / 2  # what QEMU and the kernels hold; the daemon adds one line
    assert peer.challenge(5)["heartbeat_response"] == 5
    peer.close()


def test_a_port_that_another_process_holds_is_said_and_taken_when_free(vm, host):
    vm.stop_daemon()
    vm.run("(exec 5<>/dev/virtio-ports/cgcs.messaging; sleep 2) >/dev/null 2>&1 &")
    time.sleep(0.2)
    vm.start_daemon()
    peer = host()
    peer.register(timeout_s=10)
    assert "Device or resource busy; trying again" in vm.console_text()
    peer.close()


def test_a_port_that_is_unplugged_and_plugged_in_again_is_found(vm, host, wait_until):
    peer = host()
    peer.register()
    with vm.qmp() as qmp:
        qmp.execute("device_del", id=_device_path(qmp, "cgcs.messaging"))
    wait_until(lambda: "No such device; trying again" in vm.console_text())
    vm.run("rm -f /dev/virtio-ports/cgcs.messaging")  # as udev does
    peer.close()
    before_s = cpu_s(vm)
    time.sleep(2)
    assert cpu_s(vm) - before_s < 0.2
    with vm.qmp() as qmp:
        port = {"bus": "vs0.0", "chardev": _chardev(qmp, vm.port_path), "name": "cgcs.messaging"}
        qmp.execute("device_add", driver="virtserialport", id="again", **port)
    time.sleep(0.5)
    vm.run(RELINK)
    peer = host()
    peer.register(timeout_s=10)
    assert peer.challenge(3)["heartbeat_response"] == 3


def _device_path(qmp, port_name):
    for entry in qmp.execute("qom-list", path="/machine/peripheral-anon"):
        path = f"/machine/peripheral-anon/{entry['name']}"
        if entry["type"] == "child<virtserialport>" and port_name == qmp.execute(
            "qom-get", path=path, property="name"
        ):
            return path
    raise AssertionError(f"no port {port_name}")


def _chardev(qmp, socket_path):
    return next(
        one["label"] for one in qmp.execute("query-chardev") if str(socket_path) in one["filename"]
    )
