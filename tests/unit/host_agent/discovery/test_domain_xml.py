"""What is read from a domain's XML."""

from reachthru.host_agent.discovery.base import Port
from reachthru.host_agent.discovery.libvirt.domain_xml import read_domain
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
    assert facts.wanted
    assert facts.ports == {
        "channel1": Port("cgcs.messaging", "/run/mux.sock", True),
        "channel2": Port("cgcs.heartbeat", "/run/bare.sock", False),
    }
    assert [port.dialect for port in facts.ports.values()] == [Dialect.MUX, Dialect.BARE]


def test_the_name_is_nova_s_where_there_is_one() -> None:
    assert read_domain(RUNNING).name == "db-1"
    assert read_domain("<domain><name>plain</name></domain>").name == "plain"


def test_a_domain_without_our_ports_is_not_wanted() -> None:
    assert not read_domain("<domain><name>x</name><devices/></domain>").wanted


def test_a_domain_that_is_shut_off_is_wanted_and_has_no_sockets_yet() -> None:
    facts = read_domain(
        "<domain><name>x</name><devices><channel type='unix'><source mode='bind'/>"
        "<target type='virtio' name='cgcs.messaging'/></channel></devices></domain>"
    )
    assert facts.wanted
    assert facts.ports == {}
