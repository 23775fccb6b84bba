"""Real VMs of two server groups on two hosts, none with a network: who hears what."""

import json
import time

import pytest

from reachthru.demo.qemu_vm import QemuVm
from reachthru.demo.stack import Stack

SETTINGS = '[heartbeat]\nservice_level = "SAL1"\n'
GUEST = "--config /run/reachthru/guest.toml"
LIMIT_BYTES = 3050
QUIET_S = 1.5
SCRIPTS = "plain; žluťoučký kůň; Ελλάδα; кириллица; עברית; العربية; हिन्दी; 世界; 한국어; 🦊"
# Every control character that JSON allows escaped, less the two that a broadcast may not hold.
CONTROLS = "".join(chr(code) for code in range(1, 0x20) if chr(code) != "\n") + "\x7f"


@pytest.fixture(scope="module")
def cloud(witness, guest_image):
    """`red` is a group of three on two hosts; `blue` shares the hosts with it."""
    with Stack("directory") as stack:
        forget = witness("the daemons (groups)", stack.logs)
        far_ports = stack.add_host("compute-1")
        places = {"one": stack.ports, "two": stack.ports, "far": far_ports, "blue": far_ports}
        vms = {
            name: QemuVm(guest_image, stack.folder, ports, SETTINGS)
            for name, ports in places.items()
        }
        try:
            for vm in vms.values():
                vm.start()
            red = [vms[name].uuid for name in ("one", "two", "far")]
            stack.use_groups({"red": red, "blue": [vms["blue"].uuid]})
            for vm in vms.values():
                vm.wait_until_up()
                stack.wait_registered(vm.uuid)
                vm.run(f"reachthru-guest listen --json {GUEST} >/run/heard 2>&1 &")
            yield stack, vms
        finally:
            for vm in vms.values():
                vm.close()
        forget()


def heard(vm):
    """What an application in the VM has heard so far."""
    output = vm.run("cat /run/heard").output
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith("\n")]


def texts(vm):
    return [event["data"] for event in heard(vm) if "source_instance" in event]


def wait_for(check, what, timeout_s=5.0):
    since = time.monotonic()
    while not check():
        assert time.monotonic() - since < timeout_s, f"not within {timeout_s} s: {what()}"
        time.sleep(0.02)
    return time.monotonic() - since


def broadcast(vm, text):
    """The command's result. The text goes in by a file: it may hold anything."""
    octal = "".join(f"\\0{byte:03o}" for byte in text.encode())
    vm.run("rm -f /run/text")
    for start in range(0, len(octal), 5 * 400):
        vm.run(f"printf '%b' '{octal[start : start + 5 * 400]}' >>/run/text")
    return vm.run(f"reachthru-guest broadcast - {GUEST} </run/text 2>&1")


def test_no_guest_has_a_network(cloud):
    _stack, vms = cloud
    assert {vm.run("ls /sys/class/net").output.strip() for vm in vms.values()} <= {"lo", ""}


@pytest.mark.parametrize(
    "text",
    ["x" * LIMIT_BYTES, "é" * (LIMIT_BYTES // 2), SCRIPTS, CONTROLS],
    ids=["3050-bytes", "3050-bytes-of-two-byte-characters", "scripts", "controls"],
)
def test_a_broadcast_is_byte_exact_at_every_other_member_and_nowhere_else(cloud, text):
    _stack, vms = cloud
    result = broadcast(vms["one"], text)
    assert result.exit_code == 0, result.output
    for peer in (vms["two"], vms["far"]):
        wait_for(lambda vm=peer: text in texts(vm), lambda vm=peer: heard(vm)[-1:])
        assert texts(peer).count(text) == 1
    assert text not in texts(vms["one"])
    assert text not in texts(vms["blue"])


def test_one_byte_more_is_refused_and_delivered_to_nobody(cloud):
    _stack, vms = cloud
    text = "y" * (LIMIT_BYTES + 1)
    result = broadcast(vms["one"], text)
    assert result.exit_code == 1
    assert "3050" in result.output
    time.sleep(QUIET_S)
    assert all(text not in texts(vm) for vm in vms.values())


def test_everybody_is_in_the_answer_within_a_second_and_no_host_is_named(cloud):
    _stack, vms = cloud
    result = vms["two"].run(f"reachthru-guest members --json {GUEST}")
    members = json.loads(result.output)["members"]
    assert {member["instance_id"] for member in members} == {
        vms[name].uuid for name in ("one", "two", "far")
    }
    assert {member["state"] for member in members} == {"active"}
    assert "compute-" not in result.output


def test_a_member_that_dies_is_heard_of_by_its_peers_within_a_second(cloud):
    _stack, vms = cloud
    far = vms["far"]
    far.kill()

    def knows(vm):
        states = [event.get("status", {}).get("state") for event in heard(vm)]
        return "error" in states

    for peer in (vms["one"], vms["two"]):
        took_s = wait_for(lambda vm=peer: knows(vm), lambda vm=peer: heard(vm)[-3:])
        assert took_s < 1.0
    assert not knows(vms["blue"])
