"""A real VM under QEMU, a directory-discovering host agent, a controller, a consumer."""

import base64
import signal
import time

import pytest

from reachthru.demo.qemu_vm import QemuVm

REPETITIONS = 20
INTERVAL_MS = 400  # SAL1
SAL1_MS = 1000
QUIET_S = 2.0  # longer than two intervals
WATCHED_S = 3.0
STOPPED_S = 6.0
TICKS_PER_S = 100  # USER_HZ
FAST_OPENINGS, DAEMON_OPENINGS = 90, 10
# In the guest: opens the port, registers, waits for this session's own acknowledgement and the
# challenge after it, and closes the port, every other time without a goodbye.
OPENINGS = """
import json, os, sys

ADDRESS = "cgcs.heartbeat"


def send(port, **fields):
    data = {"version": 3, "revision": 1, "sequence": 1, **fields}
    envelope = {"version": 1, "source_addr": ADDRESS, "dest_addr": ADDRESS, "data": data}
    os.write(port, b"\\n" + json.dumps(envelope).encode() + b"\\n")


def listen(port):
    rest = b""
    while True:
        *lines, rest = (rest + os.read(port, 4096)).split(b"\\n")
        yield from (json.loads(line)["data"] for line in lines if line)


for number in range(1, int(sys.argv[1]) + 1):
    port = os.open("/dev/virtio-ports/cgcs.messaging", os.O_RDWR)
    send(port, msg_type="init", invocation_id=number, name="lab", heartbeat_interval_ms=60000,
         corrective_action="log")
    heard = listen(port)
    next(said for said in heard if said.get("invocation_id") == number)
    next(said for said in heard if said["msg_type"] == "challenge")
    print("came up", flush=True)
    if number % 2 == 0:
        send(port, msg_type="exit", log_msg="")
    os.close(port)
"""


@pytest.fixture
def unhealthy_file(qemu_vm):
    yield "/run/reachthru/unhealthy"
    qemu_vm.run("rm -f /run/reachthru/unhealthy")


def test_a_guest_registers_with_its_interval_and_health(stack, qemu_vm, watch):
    instance = stack.instance(qemu_vm.uuid)
    assert instance["interval_ms"] == INTERVAL_MS
    assert instance["health"] == "healthy"
    assert instance["host"] == "compute-0"


def test_a_healthy_guest_is_heartbeated_and_nothing_is_reported(qemu_vm, watch):
    before = answered(qemu_vm)
    since = time.monotonic()
    time.sleep(WATCHED_S)
    watched_ms = (time.monotonic() - since) * 1000
    # Each of the two commands in the guest takes its time, and that is heartbeated as well.
    assert answered(qemu_vm) - before >= watched_ms / INTERVAL_MS - 2
    assert watch.heard(since) == []


def test_an_unhealthy_guest_is_reported_with_its_words_and_cleared(qemu_vm, watch, unhealthy_file):
    since = time.monotonic()
    qemu_vm.run(f"echo the disk is full >{unhealthy_file}")
    fault, raised_ms = watch.expect("unhealthy", "raised", since)
    assert "the disk is full" in fault["detail"]
    assert raised_ms < SAL1_MS
    qemu_vm.run(f"rm {unhealthy_file}")
    cleared, _ms = watch.expect("unhealthy", "cleared", since)
    assert cleared["id"] == fault["id"]


def test_down_up_down_arrives_as_down_up_down(qemu_vm, watch, unhealthy_file):
    since = time.monotonic()
    for _ in range(2):
        at = time.monotonic()
        qemu_vm.run(f"touch {unhealthy_file}")
        watch.expect("unhealthy", "raised", at)
        qemu_vm.run(f"rm {unhealthy_file}")
        watch.expect("unhealthy", "cleared", at)
    assert watch.heard(since) == [("unhealthy", "raised"), ("unhealthy", "cleared")] * 2


def test_a_frozen_guest_daemon_is_told_within_a_second(qemu_vm, watch, spread):
    def freeze():
        return qemu_vm.signal_daemon("STOP")

    def thaw():
        qemu_vm.signal_daemon("CONT")

    spread("daemon frozen", repeat(watch, freeze, thaw))


def test_a_kernel_panic_is_told_within_a_second(qemu_vm, watch, spread):
    spread("kernel panic", repeat(watch, qemu_vm.panic, qemu_vm.load_state))


def test_a_frozen_qemu_is_told_within_a_second(qemu_vm, watch, spread):
    spread("QEMU frozen", repeat(watch, qemu_vm.freeze, qemu_vm.thaw))


def test_stopped_virtual_cpus_are_told_within_a_second(qemu_vm, watch, spread):
    """Nobody tells a directory-discovering agent that it was on purpose."""

    def pause():
        moment = time.monotonic()
        with qemu_vm.qmp() as qmp:
            qmp.execute("stop")
        return moment

    def resume():
        with qemu_vm.qmp() as qmp:
            qmp.execute("cont")

    spread("virtual CPUs stopped", repeat(watch, pause, resume, times=3))


def test_a_killed_qemu_is_told_in_150_ms(qemu_vm, watch, spread, assert_at_once):
    times_ms = repeat(watch, qemu_vm.kill, qemu_vm.load_state, kind="instance_lost")
    spread("QEMU killed", times_ms)
    assert_at_once(times_ms)


def test_a_stepped_wall_clock_in_the_guest_changes_nothing(qemu_vm, watch):
    since = time.monotonic()
    for step in ("3600", "-7200", "3600"):
        assert qemu_vm.run(f"date -s @$(( $(date +%s) + {step} ))").exit_code == 0
    time.sleep(QUIET_S)
    assert watch.heard(since) == []


def test_the_guest_needs_no_network(qemu_vm, watch):
    assert qemu_vm.run("ls /sys/class/net").output.split() == ["lo"]


def test_a_guest_daemon_idles_while_no_host_listens_and_attaches_again(stack, qemu_vm, watch):
    since = time.monotonic()
    stack.host_agent.stop()
    before_ticks = cpu_ticks(qemu_vm)
    time.sleep(WATCHED_S)
    assert cpu_ticks(qemu_vm) - before_ticks <= 0.05 * WATCHED_S * TICKS_PER_S
    stack.start_host_agent()
    watch.wait_well()
    assert watch.heard(since) == []


def test_a_killed_host_agent_blames_nobody_when_it_is_back(stack, qemu_vm, watch):
    since = time.monotonic()
    stack.host_agent.send(signal.SIGKILL)
    stack.host_agent.wait(5)
    stack.start_host_agent()
    watch.wait_well()
    time.sleep(QUIET_S)
    assert watch.heard(since) == []


def test_a_stopped_host_agent_blames_nobody_when_it_goes_on(stack, qemu_vm, watch):
    since = stack.host_agent.send(signal.SIGSTOP)
    time.sleep(STOPPED_S)
    stack.host_agent.send(signal.SIGCONT)
    time.sleep(QUIET_S)
    assert watch.heard(since) == []


def test_the_channel_comes_up_a_hundred_times(stack, qemu_vm, watch):
    """The host is connected all the time; the guest's end of the port comes and goes.

    Ours is opened by the daemon, and most often by a program that opens it faster.
    """
    since = time.monotonic()
    qemu_vm.stop_daemon()
    script = base64.b64encode(OPENINGS.encode()).decode()
    qemu_vm.run(f"echo {script} | base64 -d >/run/openings.py")
    opened = qemu_vm.run(f"python3 -I -S /run/openings.py {FAST_OPENINGS}", timeout_s=60)
    assert opened.output.split() == ["came", "up"] * FAST_OPENINGS
    for _ in range(DAEMON_OPENINGS):
        before = registrations(qemu_vm)
        qemu_vm.start_daemon()
        stack.wait_until(lambda seen=before: registrations(qemu_vm) > seen, "a registration", 20)
        qemu_vm.stop_daemon()
    qemu_vm.start_daemon()
    watch.wait_well()
    assert watch.heard(since) == []


def test_the_bare_heartbeat_port_of_field_guests_works_as_well(stack, guest_image, watch_of):
    settings = f"""
        [channel]
        port = "virtio:///dev/virtio-ports/cgcs.heartbeat"
        dialect = "bare"
        [heartbeat]
        interval_ms = {INTERVAL_MS}
    """
    with QemuVm(guest_image, stack.folder, stack.ports, settings, port="cgcs.heartbeat") as vm:
        assert stack.wait_registered(vm.uuid)["interval_ms"] == INTERVAL_MS
        vm.wait_until_up()
        panicked_at = vm.panic()
        _fault, told_ms = watch_of(stack, vm.uuid).expect("heartbeat_lost", "raised", panicked_at)
        assert told_ms < SAL1_MS


def repeat(watch, injure, heal, kind="heartbeat_lost", times=REPETITIONS):
    """Hurts and heals the guest again and again; each time the consumer hears within a second.

    Returns the milliseconds from the injury to the consumer.
    """
    times_ms = []
    for _ in range(times):
        injured_at = injure()
        fault, told_ms = watch.expect(kind, "raised", injured_at)
        heal()
        watch.expect(kind, "cleared", injured_at)
        watch.wait_well()
        assert told_ms < SAL1_MS, fault
        assert watch.heard(injured_at) == [(kind, "raised"), (kind, "cleared")]
        times_ms.append(told_ms)
    return times_ms


def answered(vm):
    """How many challenges the guest daemon has answered since it runs."""
    settings = "/run/reachthru/guest.toml"
    status = vm.run(f"reachthru-guest status --config {settings}").output
    line = next(line for line in status.splitlines() if line.startswith("answered"))
    return int(line.split()[1])


def registrations(vm):
    """How often the guest daemon has said so on the console."""
    return vm.console_text().count("registered with the host")


def cpu_ticks(vm):
    """What the guest daemon has used of its CPU, in `TICKS_PER_S`."""
    fields = vm.run("cat /proc/$(cat /run/reachthru/daemon.pid)/stat").output.rsplit(")", 1)[1]
    user, system = fields.split()[11:13]  # proc(5): utime, stime
    return int(user) + int(system)
