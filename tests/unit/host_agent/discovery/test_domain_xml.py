"""What is read from a domain's XML."""

import xml.etree.ElementTree as ET

import pytest

from reachthru.host_agent.discovery.base import EVERY_SERVICE, NO_SERVICE, Port, Service
from reachthru.host_agent.discovery.libvirt.domain_xml import channel_xml, read_domain
from reachthru.protocol.codec import Dialect

RUNNING = """
<domain type='qemu' id='3'>
  <name>instance-00000001</name>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:name>db-1</nova:name>
      <nova:flavor name="m1.small"/>
    </nova:instance>
    <other:instance xmlns:other="http://example.org/"><other:name>not me</other:name>
    </other:instance>
  </metadata>
  <devices>
    <channel type='unix'>
      <source mode='bind' path='/run/ga.sock'/>
      <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
      <alias name='channel0'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='/run/mux.sock'/>
      <target type='virtio' name='cgcs.messaging' state='connected'/>
      <alias name='channel1'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='/run/bare.sock'/>
      <target type='virtio' name='cgcs.heartbeat' state='disconnected'/>
      <alias name='channel2'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='/run/fwd.sock'/>
      <target type='guestfwd' address='10.0.2.1' port='4600'/>
      <alias name='channel3'/>
    </channel>
  </devices>
</domain>
"""


def test_our_ports_are_found_by_name_beside_others() -> None:
    facts = read_domain(RUNNING)
    assert facts.services == EVERY_SERVICE
    assert facts.ports == {
        "channel1": Port("cgcs.messaging", "/run/mux.sock", True),
        "channel2": Port("cgcs.heartbeat", "/run/bare.sock", False),
    }
    assert [port.dialect for port in facts.ports.values()] == [Dialect.MUX, Dialect.BARE]


def test_the_name_is_nova_s_where_there_is_one() -> None:
    assert read_domain(RUNNING).name == "db-1"
    assert read_domain("<domain><name>plain</name></domain>").name == "plain"


def test_a_domain_without_our_ports_asks_for_nothing() -> None:
    assert read_domain("<domain><name>x</name><devices/></domain>").services == NO_SERVICE


def test_a_domain_that_is_shut_off_is_served_and_has_no_sockets_yet() -> None:
    facts = read_domain(
        "<domain><name>x</name><devices><channel type='unix'><source mode='bind'/>"
        "<target type='virtio' name='cgcs.messaging'/></channel></devices></domain>"
    )
    assert facts.services == EVERY_SERVICE
    assert facts.ports == {}


NOVA = 'xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"'
HEARTBEAT, MESSAGES = "ha:guest_heartbeat", "ha:server_group_messaging"
CONTROLLER = "<controller type='virtio-serial' index='0'/>"


def domain(extra_specs: str | None, *ports: str, devices: str = "") -> str:
    """As Nova's, whose flavor has `extra_specs`; None: a Nova that does not write them."""
    specs = "" if extra_specs is None else f"<nova:extraSpecs>{extra_specs}</nova:extraSpecs>"
    channels = "".join(
        f"<channel type='unix'><source mode='bind' path='/run/{port}'/>"
        f"<target type='virtio' name='{port}'/><alias name='{port}'/></channel>"
        for port in ports
    )
    return (
        f"<domain><name>instance-00000001</name><metadata><nova:instance {NOVA}>"
        f"<nova:name>db-1</nova:name><nova:flavor name='m1'>{specs}</nova:flavor></nova:instance>"
        f"</metadata><devices>{channels}{devices}</devices></domain>"
    )


def spec(name: str, value: str = "true") -> str:
    return f'<nova:extraSpec name="{name}">{value}</nova:extraSpec>'


@pytest.mark.parametrize(
    ("extra_specs", "services"),
    [
        ("", NO_SERVICE),
        (spec("hw:cpu_policy", "shared"), NO_SERVICE),
        (spec(HEARTBEAT), Service.HEARTBEAT),
        (spec(MESSAGES), Service.MESSAGES),
        (spec(HEARTBEAT) + spec(MESSAGES), EVERY_SERVICE),
        (spec(HEARTBEAT, "false") + spec(MESSAGES, "False"), NO_SERVICE),
        (spec("sw:wrs:guest:heartbeat") + spec("sw:wrs:srv_grp_messaging"), EVERY_SERVICE),
        (spec("sw:wrs:guest:heartbeat") + spec(HEARTBEAT, "no"), NO_SERVICE),
    ],
    ids=[
        *("no spec", "others' only", "heartbeat", "messages", "both", "refused", "older names"),
        "the newer name decides",
    ],
)
def test_a_guest_is_served_with_what_its_flavor_asks_for(
    extra_specs: str, services: Service
) -> None:
    facts = read_domain(domain(extra_specs, "cgcs.messaging"))
    assert facts.services == services
    assert [port.name for port in facts.ports.values()] == ["cgcs.messaging"] * bool(services)
    assert not facts.lacks_port


@pytest.mark.parametrize("value", ["True", "1", "yes", "ON", " t ", "y"])
def test_a_boolean_is_what_nova_takes_for_one(value: str) -> None:
    facts = read_domain(domain(spec(HEARTBEAT, value), "cgcs.messaging"))
    assert facts.services == Service.HEARTBEAT


def test_what_is_no_boolean_asks_for_nothing_and_is_named() -> None:
    facts = read_domain(domain(spec(HEARTBEAT, "ture") + spec(MESSAGES), "cgcs.messaging"))
    assert facts.services == Service.MESSAGES
    assert facts.wrong_specs == ["ha:guest_heartbeat = ture"]


def test_a_nova_that_does_not_write_extra_specs_asks_by_the_port() -> None:
    assert read_domain(domain(None, "cgcs.messaging")).services == EVERY_SERVICE
    assert read_domain(domain(None, "cgcs.heartbeat")).services == Service.HEARTBEAT
    assert read_domain(domain(None)).services == NO_SERVICE


def test_extra_specs_in_somebody_else_s_metadata_ask_for_nothing() -> None:
    theirs = domain(spec(HEARTBEAT)).replace("openstack.org/xmlns/libvirt/nova", "example.org/x")
    assert read_domain(theirs).services == NO_SERVICE


def test_a_bare_port_is_left_alone_where_no_heartbeat_is_asked_for() -> None:
    facts = read_domain(domain(spec(MESSAGES), "cgcs.heartbeat", "cgcs.messaging"))
    assert [port.name for port in facts.ports.values()] == ["cgcs.messaging"]


@pytest.mark.parametrize(
    ("extra_specs", "ports", "lacking"),
    [
        (spec(HEARTBEAT), (), True),
        (spec(MESSAGES), (), True),
        (spec(HEARTBEAT), ("cgcs.heartbeat",), False),
        (spec(HEARTBEAT) + spec(MESSAGES), ("cgcs.heartbeat",), True),
        (spec(HEARTBEAT) + spec(MESSAGES), ("cgcs.messaging",), False),
        ("", (), False),
        (None, (), False),
    ],
)
def test_a_port_is_lacking_where_more_is_asked_for_than_the_ports_carry(
    extra_specs: str | None, ports: tuple[str, ...], lacking: bool
) -> None:
    assert read_domain(domain(extra_specs, *ports)).lacks_port is lacking


def test_a_port_can_be_plugged_where_there_is_a_virtio_serial_controller() -> None:
    usb = "<controller type='usb' index='0'/>"
    assert read_domain(domain(spec(HEARTBEAT), devices=usb + CONTROLLER)).has_controller
    assert not read_domain(domain(spec(HEARTBEAT), devices=usb)).has_controller


def test_a_plugged_port_is_what_nova_s_would_be_and_names_no_host() -> None:
    channel = ET.fromstring(channel_xml("instance-<1>"))
    source, target = channel.find("source"), channel.find("target")
    assert source is not None
    assert source.attrib == {
        "mode": "bind",
        "path": "/var/lib/libvirt/qemu/cgcs.messaging.instance-<1>.sock",
    }
    assert target is not None
    assert target.attrib == {"type": "virtio", "name": "cgcs.messaging"}
