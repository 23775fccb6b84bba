"""Under real libvirt: who is served with what, by what Nova writes of a domain's flavor, and
domains that were booted without the port that their flavor asks for.

One VM, booted beside the QEMU guest agent and without a port of ours, serves the whole file.
"""

import contextlib
import json
import time
import uuid as uuids
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import libvirt
import libvirt_qemu
import pytest

from reachthru.demo.libvirt_daemons import CONNECTION_URI, DOMAIN_TITLE, remove
from reachthru.demo.libvirt_vm import LibvirtVm
from reachthru.demo.vm import GUEST_AGENT_PORT

PORT = "cgcs.messaging"
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
HEARTBEAT, MESSAGES = "ha:guest_heartbeat", "ha:server_group_messaging"
SETTINGS = "[heartbeat]\ninterval_ms = 1000\n"
GUEST = "--config /run/reachthru/guest.toml"
QUIET_S = 2.5  # longer than two intervals


def nova_metadata(specs):
    """What Nova 32 and later writes of a flavor."""
    texts = "".join(
        f"<extraSpec name={quoteattr(name)}>{escape(value)}</extraSpec>"
        for name, value in specs.items()
    )
    return (
        "<instance><name>db-1</name>"
        f"<flavor name='m1' id='1'><extraSpecs>{texts}</extraSpecs></flavor></instance>"
    )


def resize(domain, specs):
    """The running domain's metadata, as Nova sets it; None: an older Nova's, or nobody's."""
    metadata = None if specs is None else nova_metadata(specs)
    kind, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    domain.setMetadata(kind, metadata, "nova", NOVA, live)


def channel_paths(domain, flags=0):
    """Where our port's socket is, by the domain's XML: none, or one."""
    found = []
    for channel in domain.XMLDesc(flags).split("<channel ")[1:]:
        if f"name='{PORT}'" in channel.split("</channel>")[0]:
            found.append(channel.split("path='")[1].split("'")[0])
    return found


@pytest.fixture(scope="module")
def portless_vm(libvirt_stack, libvirt_image, witness):
    """Its state, without a port of ours, is saved."""
    folder = libvirt_stack.folder
    with LibvirtVm(libvirt_image, folder, SETTINGS, ports=(GUEST_AGENT_PORT,)) as vm:
        forget = witness("the guest's console", vm.console_text)
        vm.wait_until_up()
        vm.save_state()
        yield vm
        forget()


@pytest.fixture(scope="module")
def plugged_vm(libvirt_stack, portless_vm):
    """Its flavor asks for everything, the port was plugged in, and its guest registered."""
    vm, stack = portless_vm, libvirt_stack
    resize(vm.domain, {HEARTBEAT: "true", MESSAGES: "true"})
    names = "cat /sys/class/virtio-ports/*/name"
    stack.wait_until(lambda: PORT in vm.run(names).output.split(), "the port in the guest")
    # The lab's guest has no udev.
    vm.run(f"ln -s /dev/vport0p3 /dev/virtio-ports/{PORT}")
    stack.wait_registered(vm.uuid)
    return vm


@pytest.fixture
def plugged_watch(libvirt_stack, plugged_vm, watch_of):
    watch = watch_of(libvirt_stack, plugged_vm.uuid)
    watch.wait_well()
    yield watch
    resize(plugged_vm.domain, {HEARTBEAT: "true", MESSAGES: "true"})
    watch.wait_well()


def test_a_domain_without_the_port_is_left_alone(libvirt_stack, portless_vm, watch_of):
    since = time.monotonic()
    ports = portless_vm.run("ls /dev/virtio-ports").output.split()
    assert ports == [GUEST_AGENT_PORT, "reachthru.lab"]
    portless_vm.kill()
    time.sleep(QUIET_S)
    assert libvirt_stack.instance(portless_vm.uuid) == {}
    assert watch_of(libvirt_stack, portless_vm.uuid).heard(since) == []
    portless_vm.load_state()


def test_the_port_that_a_flavor_asks_for_is_plugged_into_the_running_domain(
    libvirt_stack, plugged_vm, plugged_watch
):
    instance = libvirt_stack.instance(plugged_vm.uuid)
    assert (instance["name"], instance["note"]) == ("db-1", "")
    path = f"/var/lib/libvirt/qemu/{PORT}.{plugged_vm.name}.sock"
    assert channel_paths(plugged_vm.domain) == [path]
    # It goes along in a live migration, and Nova's definition is as it was.
    assert channel_paths(plugged_vm.domain, libvirt.VIR_DOMAIN_XML_MIGRATABLE) == [path]
    assert channel_paths(plugged_vm.domain, libvirt.VIR_DOMAIN_XML_INACTIVE) == []


def test_a_guest_on_a_plugged_port_that_hangs_is_told(plugged_vm, plugged_watch):
    frozen_at = plugged_vm.signal_daemon("STOP")
    plugged_watch.expect("heartbeat_lost", "raised", frozen_at)
    plugged_vm.signal_daemon("CONT")
    plugged_watch.expect("heartbeat_lost", "cleared", frozen_at)


def test_the_qemu_guest_agent_lives_beside_a_plugged_port(plugged_vm, plugged_watch):
    command = json.dumps({"execute": "guest-get-host-name"})
    answer = json.loads(libvirt_qemu.qemuAgentCommand(plugged_vm.domain, command, 10, 0))
    assert answer["return"]["host-name"] == "guest"


def test_a_plugged_port_is_saved_and_restored_with_its_domain(
    libvirt_stack, plugged_vm, plugged_watch
):
    """As in a migration, another QEMU goes on from the running domain's own XML."""
    since = time.monotonic()
    plugged_vm.close_door()
    plugged_vm.domain.managedSave()
    plugged_vm.domain.create()
    plugged_watch.wait_well()
    time.sleep(QUIET_S)
    assert plugged_watch.heard(since) == []
    assert len(channel_paths(plugged_vm.domain)) == 1


def test_a_guest_that_is_not_asked_for_any_more_is_left_alone_at_once(
    libvirt_stack, plugged_vm, plugged_watch
):
    since = time.monotonic()
    resize(plugged_vm.domain, {"hw:cpu_policy": "shared"})
    libvirt_stack.wait_until(lambda: libvirt_stack.instance(plugged_vm.uuid) == {}, "it to leave")
    plugged_vm.signal_daemon("STOP")
    time.sleep(QUIET_S)
    plugged_vm.signal_daemon("CONT")
    assert libvirt_stack.instance(plugged_vm.uuid) == {}
    assert plugged_watch.heard(since) == []


def test_messages_without_a_heartbeat(libvirt_stack, plugged_vm, plugged_watch):
    vm, stack = plugged_vm, libvirt_stack
    stack.use_groups({"group": [vm.uuid]})
    resize(vm.domain, {MESSAGES: "true"})
    stack.wait_until(lambda: not stack.instance(vm.uuid).get("registered"), "the heartbeat's end")
    members = json.loads(vm.run(f"reachthru-guest members --json {GUEST}").output)
    assert vm.uuid in json.dumps(members)
    since = time.monotonic()
    vm.signal_daemon("KILL")
    time.sleep(QUIET_S)
    vm.start_daemon()
    time.sleep(QUIET_S)
    assert not stack.instance(vm.uuid)["registered"]
    assert plugged_watch.heard(since) == []


def test_a_heartbeat_without_messages(libvirt_stack, plugged_vm, plugged_watch):
    resize(plugged_vm.domain, {HEARTBEAT: "true"})

    def refusal():
        return plugged_vm.run(f"reachthru-guest members {GUEST}").output

    libvirt_stack.wait_until(lambda: MESSAGES in refusal(), "a refusal that names the extra spec")
    plugged_watch.wait_well()


def test_without_nova_s_word_the_port_is_the_request(libvirt_stack, plugged_vm, plugged_watch):
    resize(plugged_vm.domain, {})
    libvirt_stack.wait_until(lambda: libvirt_stack.instance(plugged_vm.uuid) == {}, "it to leave")
    resize(plugged_vm.domain, None)
    plugged_watch.wait_well()
    assert libvirt_stack.instance(plugged_vm.uuid)["name"] == plugged_vm.name


def empty_domain_xml(name, specs, devices=""):
    """No guest in it."""
    metadata = nova_metadata(specs).replace("<instance>", f"<instance xmlns='{NOVA}'>", 1)
    return f"""
        <domain type='qemu'>
          <name>{name}</name><title>{DOMAIN_TITLE}</title><metadata>{metadata}</metadata>
          <memory unit='MiB'>32</memory>
          <os><type arch='x86_64' machine='pc'>hvm</type></os>
          <devices>{devices}<memballoon model='none'/></devices>
        </domain>"""


@contextlib.contextmanager
def empty_domain(devices, name=None):
    """Its flavor asks for a heartbeat."""
    connection = libvirt.open(CONNECTION_URI)
    name = name or f"instance-{uuids.uuid4().hex[:8]}"
    domain = connection.createXML(empty_domain_xml(name, {HEARTBEAT: "true"}, devices))
    try:
        yield domain
    finally:
        domain.destroy()
        connection.close()


def assert_said_once(stack, domain, text):
    """In the instance's note and in one line of the log, however often it is looked at again."""
    uuid = domain.UUIDString()
    stack.wait_until(lambda: text in stack.instance(uuid).get("note", ""), f"a note: {text}")
    for policy in ("shared", "dedicated"):
        resize(domain, {HEARTBEAT: "true", "hw:cpu_policy": policy})
    time.sleep(QUIET_S)
    lines = stack.host_agent.log_text().splitlines()
    assert sum(uuid in line and text in line for line in lines) == 1
    assert stack.active_faults(uuid) == []


def test_where_no_port_can_be_plugged_in_it_is_said_once_and_nobody_is_sick(libvirt_stack):
    with empty_domain("") as domain:
        assert_said_once(libvirt_stack, domain, "without a virtio-serial controller")


def test_a_port_that_libvirt_refuses_to_plug_in_is_tried_once_and_said(libvirt_stack):
    name = f"instance-{uuids.uuid4().hex[:8]}"
    in_the_way = Path(f"/var/lib/libvirt/qemu/{PORT}.{name}.sock")
    in_the_way.mkdir()
    try:
        with empty_domain("<controller type='virtio-serial'/>", name) as domain:
            assert_said_once(libvirt_stack, domain, "libvirt did not plug one in")
    finally:
        in_the_way.rmdir()


def test_a_resized_flavor_counts_from_the_domains_next_start(libvirt_stack):
    """Nova's resize: the domain is defined anew while it is off."""
    name = f"instance-{uuids.uuid4().hex[:8]}"
    connection = libvirt.open(CONNECTION_URI)
    domain = connection.defineXML(empty_domain_xml(name, {}))
    uuid = domain.UUIDString()
    try:
        domain.create()
        plain, kind = nova_metadata({HEARTBEAT: "true"}), libvirt.VIR_DOMAIN_METADATA_ELEMENT
        domain.setMetadata(kind, plain, "nova", NOVA, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        time.sleep(QUIET_S)
        assert libvirt_stack.instance(uuid) == {}
        domain.destroy()
        domain.create()
        libvirt_stack.wait_until(
            lambda: libvirt_stack.instance(uuid).get("state") == "running", "the instance"
        )
    finally:
        remove(domain)
        connection.close()
    libvirt_stack.wait_until(lambda: libvirt_stack.instance(uuid) == {}, "it to leave")
