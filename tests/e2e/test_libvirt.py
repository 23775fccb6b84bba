"""A real VM under real libvirt, a libvirt-discovering host agent, a controller, a consumer."""

import contextlib
import json
import time

import libvirt
import libvirt_qemu
import pytest

REPETITIONS = 20
QEMU_HOLDS_BACK_MS = 1_000
AT_ONCE_MS = 150
INTERVAL_S = 0.4  # SAL1
SAL1_MS = 1000
QUIET_S = 2.0  # longer than two intervals, and than what QEMU holds a port's events back
# QEMU tells of a port's openings and closings once a second at most, and holds the others back. Two
# seconds after a closing and an opening it is done with both, and tells of the next one at once.
PORT_EVENTS_S = 2.1


def test_a_domains_guest_registers_by_its_name(libvirt_stack, libvirt_vm, libvirt_watch):
    instance = libvirt_stack.instance(libvirt_vm.uuid)
    assert instance["name"] == libvirt_vm.name
    assert instance["interval_ms"] == INTERVAL_S * 1000
    assert instance["health"] == "healthy"


def test_it_lives_beside_the_qemu_guest_agent(libvirt_stack, libvirt_vm, libvirt_watch):
    def guest_agent_answers():
        command = json.dumps({"execute": "guest-get-host-name"})
        with contextlib.suppress(libvirt.libvirtError):  # not connected yet
            answer = json.loads(libvirt_qemu.qemuAgentCommand(libvirt_vm.domain, command, 5, 0))
            return answer["return"]["host-name"] == "guest"
        return False

    since = time.monotonic()
    libvirt_stack.wait_until(guest_agent_answers, "QEMU's guest agent", 10)
    libvirt_watch.wait_well()
    assert libvirt_watch.heard(since) == []


def test_a_killed_guest_daemon_is_told_in_150_ms_and_a_frozen_one_within_a_second(
    libvirt_vm, libvirt_watch, spread, assert_at_once
):
    """In turns: a frozen daemon leaves its port open, so QEMU can rest meanwhile."""
    killed_ms, frozen_ms = [], []
    rested_at = time.monotonic() + PORT_EVENTS_S
    for _ in range(REPETITIONS):
        time.sleep(max(0.0, rested_at - time.monotonic()))
        killed_at = libvirt_vm.signal_daemon("KILL")
        _fault, told_ms = libvirt_watch.expect("guest_daemon_lost", "raised", killed_at)
        libvirt_vm.start_daemon()
        libvirt_watch.expect("guest_daemon_lost", "cleared", killed_at)
        rested_at = time.monotonic() + PORT_EVENTS_S
        libvirt_watch.wait_well()
        killed_ms.append(told_ms)
        frozen_at = libvirt_vm.signal_daemon("STOP")
        _fault, told_ms = libvirt_watch.expect("heartbeat_lost", "raised", frozen_at)
        libvirt_vm.signal_daemon("CONT")
        libvirt_watch.expect("heartbeat_lost", "cleared", frozen_at)
        libvirt_watch.wait_well()
        frozen_ms.append(told_ms)
    spread("guest daemon killed", killed_ms)
    spread("guest daemon frozen", frozen_ms)
    assert_at_once(killed_ms)
    assert max(frozen_ms) < SAL1_MS


def test_a_guest_daemon_killed_again_at_once_is_told_when_qemu_tells(libvirt_vm, libvirt_watch):
    """QEMU tells of a port once a second: what comes sooner waits for the second's end."""
    for _ in range(5):
        killed_at = libvirt_vm.signal_daemon("KILL")
        _fault, told_ms = libvirt_watch.expect("guest_daemon_lost", "raised", killed_at)
        libvirt_vm.start_daemon()
        libvirt_watch.expect("guest_daemon_lost", "cleared", killed_at)
        assert told_ms < QEMU_HOLDS_BACK_MS + AT_ONCE_MS


def test_a_killed_qemu_is_told_in_150_ms(libvirt_vm, libvirt_watch, spread, assert_at_once):
    times_ms = []
    for _ in range(REPETITIONS):
        killed_at = libvirt_vm.kill()
        _fault, told_ms = libvirt_watch.expect("instance_lost", "raised", killed_at)
        libvirt_vm.load_state()
        libvirt_watch.expect("instance_lost", "cleared", killed_at)
        libvirt_watch.wait_well()
        assert libvirt_watch.heard(killed_at) == [
            ("instance_lost", "raised"),
            ("instance_lost", "cleared"),
        ]
        times_ms.append(told_ms)
    spread("QEMU killed", times_ms)
    assert_at_once(times_ms)


def test_a_kernel_panic_is_told_within_a_second_and_cleared_by_a_reset(libvirt_vm, libvirt_watch):
    panicked_at = libvirt_vm.panic()
    _fault, told_ms = libvirt_watch.expect("heartbeat_lost", "raised", panicked_at)
    assert told_ms < SAL1_MS
    libvirt_vm.reset()
    libvirt_watch.expect("heartbeat_lost", "cleared", panicked_at)


def pause(domain, _folder):
    domain.suspend()
    time.sleep(QUIET_S)
    domain.resume()


def save_and_restore(domain, folder):
    domain.managedSave()
    time.sleep(QUIET_S)
    domain.create()


def snapshot(domain, folder):
    memory = f"<memory snapshot='external' file='{folder / 'memory'}'/>"
    domain.snapshotCreateXML(f"<domainsnapshot><name>one</name>{memory}</domainsnapshot>")


def dump(domain, folder):
    domain.coreDump(str(folder / "core"), libvirt.VIR_DUMP_MEMORY_ONLY)


def live_dump(domain, folder):
    flags = libvirt.VIR_DUMP_MEMORY_ONLY | libvirt.VIR_DUMP_LIVE
    domain.coreDump(str(folder / "live-core"), flags)


@pytest.mark.parametrize(
    "operation", [pause, save_and_restore, snapshot, dump, live_dump], ids=lambda one: one.__name__
)
def test_what_an_operator_does_is_nobodys_fault(
    operation, libvirt_vm, libvirt_stack, libvirt_watch
):
    since = time.monotonic()
    operation(libvirt_vm.domain, libvirt_stack.folder)
    libvirt_vm.close_door()  # the machine may have another QEMU by now
    libvirt_watch.wait_well()
    time.sleep(QUIET_S)
    assert libvirt_watch.heard(since) == []


def test_a_reset_is_nobodys_fault(libvirt_vm, libvirt_watch):
    time.sleep(PORT_EVENTS_S)
    boots = libvirt_vm.console_text().count("lab: guest is up")
    since = libvirt_vm.reset()
    libvirt_vm.wait_until_up(boots=boots + 1)
    libvirt_watch.wait_well()
    time.sleep(QUIET_S)
    assert libvirt_watch.heard(since) == []


def test_a_shut_down_guest_and_its_next_start_are_nobodys_fault(libvirt_vm, libvirt_watch):
    since = time.monotonic()
    libvirt_vm.shutdown()
    time.sleep(QUIET_S)
    libvirt_vm.start()
    libvirt_watch.wait_well()
    assert libvirt_watch.heard(since) == []


def test_a_destroyed_domain_is_nobodys_fault(libvirt_vm, libvirt_watch):
    since = time.monotonic()
    libvirt_vm.domain.destroy()
    time.sleep(QUIET_S)
    assert libvirt_watch.heard(since) == []
    libvirt_vm.load_state()
    libvirt_watch.wait_well()


def test_a_guest_daemon_that_was_stopped_said_goodbye(libvirt_vm, libvirt_watch):
    since = time.monotonic()
    libvirt_vm.stop_daemon()
    time.sleep(QUIET_S)
    assert libvirt_watch.heard(since) == []
    libvirt_vm.start_daemon()
    libvirt_watch.wait_well()
