"""A flavor's extra specs, written by Nova's own code and read by the host agent."""

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from reachthru.host_agent.discovery.base import EVERY_SERVICE, NO_SERVICE, Service
from reachthru.host_agent.discovery.libvirt.domain_xml import channel_xml, read_domain

ROOT = Path(__file__).resolve().parents[3]
NOVA_PYTHON = ROOT / ".venv-nova/bin/python"  # tools/setup-nova makes it
HEARTBEAT, MESSAGES = "ha:guest_heartbeat", "ha:server_group_messaging"
FLAVORS: dict[str, dict[str, str]] = {
    "none": {},
    "others": {"hw:cpu_policy": "shared"},
    "heartbeat": {HEARTBEAT: "true"},
    "messages": {MESSAGES: "True", "hw:note": "<&>"},
    "both": {HEARTBEAT: "yes", MESSAGES: "1"},
}
# A guest of each flavor on stdin, as Nova's libvirt driver writes it, and its channel.
WRITER = """
import json, sys
from nova.virt.libvirt import config

def guest(specs):
    flavor = config.LibvirtConfigGuestMetaNovaFlavor()
    flavor.name, flavor.id, flavor.extra_specs = "m1", "1", specs
    meta = config.LibvirtConfigGuestMetaNovaInstance()
    meta.package, meta.name, meta.flavor = "34.0.0", "db-1", flavor
    channel = config.LibvirtConfigGuestChannel()
    channel.type, channel.target_name = "unix", "cgcs.messaging"
    channel.source_path = "/var/lib/libvirt/qemu/cgcs.messaging.instance-00000001.sock"
    guest = config.LibvirtConfigGuest()
    guest.virt_type, guest.os_type, guest.name, guest.uuid = "qemu", "hvm", "instance-00000001", "u"
    guest.memory, guest.vcpus = 1024, 1
    guest.metadata.append(meta)
    guest.add_device(channel)
    return guest.to_xml(), channel.to_xml()

print(json.dumps({name: guest(specs) for name, specs in json.load(sys.stdin).items()}))
"""


@pytest.fixture(scope="module")
def written() -> dict[str, tuple[str, str]]:
    """By flavor: the domain, and its channel."""
    done = subprocess.run(
        [NOVA_PYTHON, "-c", WRITER],
        input=json.dumps(FLAVORS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: (guest, channel) for name, (guest, channel) in json.loads(done.stdout).items()}


@pytest.mark.parametrize(
    ("flavor", "services"),
    [
        ("none", NO_SERVICE),
        ("others", NO_SERVICE),
        ("heartbeat", Service.HEARTBEAT),
        ("messages", Service.MESSAGES),
        ("both", EVERY_SERVICE),
    ],
)
def test_a_guest_is_served_with_what_its_flavor_asks_nova_for(
    written: dict[str, tuple[str, str]], flavor: str, services: Service
) -> None:
    facts = read_domain(written[flavor][0])
    assert facts.services == services
    assert facts.name == "db-1"
    assert not facts.lacks_port


def test_a_port_that_is_plugged_in_is_the_one_that_nova_would_have_written(
    written: dict[str, tuple[str, str]],
) -> None:
    theirs = written["both"][1]
    ours = channel_xml("instance-00000001")
    assert ET.canonicalize(ours) == ET.canonicalize(theirs, strip_text=True)
