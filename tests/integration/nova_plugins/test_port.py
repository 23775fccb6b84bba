"""The port that a flavor asks for is in the domain that Nova's own code makes, and stays."""

import pytest

from reachthru.host_agent.discovery.libvirt.domain_xml import read_domain

pytestmark = pytest.mark.xdist_group("nova_plugins")  # one Nova for all

PORT = "cgcs.messaging"
ASKS = {"ha:guest_heartbeat": "true"}
HOST, DOOMED_HOST = "compute-0", "compute-2"  # of compute_cloud.py
GUEST_AGENT = "org.qemu.guest_agent.0"


def sole_port(server):
    return {PORT: f"/var/lib/libvirt/qemu/{PORT}.{server.instance_name}.sock"}


@pytest.fixture(scope="module")
def server(cloud):
    """A test leaves it active."""
    return cloud.server(ASKS, host=HOST)


@pytest.fixture
def here(cloud, server):
    """The server as it is now."""
    return cloud.settled(server, "active")


@pytest.mark.parametrize(
    "asks",
    [
        {"ha:guest_heartbeat": "true"},
        {"ha:guest_heartbeat": "false", "ha:server_group_messaging": "True"},
        {"sw:wrs:guest:heartbeat": "true"},
    ],
    ids=str,
)
def test_a_flavor_that_asks_gives_the_port(cloud, asks):
    server = cloud.server(asks)
    assert cloud.ports(server) == sole_port(server)


@pytest.mark.parametrize(
    "asks",
    [
        {},
        {"ha:guest_heartbeat": "false", "ha:server_group_messaging": "0"},
    ],
    ids=str,
)
def test_a_flavor_that_does_not_ask_gives_none(cloud, asks):
    assert cloud.ports(cloud.server(asks)) == {}


def test_without_the_port_the_domain_is_the_one_that_nova_makes(cloud):
    """Off means off: the two differ by the port alone."""

    def stripped(server):
        text = cloud.domain_xml(server)
        for own in (server.id, server.instance_name):
            text = text.replace(own, "")
        return text

    asked, plain = cloud.server(ASKS), cloud.server()
    channel = (
        f'<channel type="unix"><source mode="bind" path="/var/lib/libvirt/qemu/{PORT}..sock"/>'
        f'<target type="virtio" name="{PORT}"/></channel>'
    )
    text = "".join(line.strip() for line in stripped(asked).splitlines())
    assert text.replace(channel, "") == "".join(
        line.strip() for line in stripped(plain).splitlines()
    )
    assert channel in text


def test_it_comes_after_the_qemu_guest_agents(cloud):
    server = cloud.server(ASKS, image=cloud.agent_image)
    assert list(cloud.ports(server)) == [GUEST_AGENT, PORT]
    assert list(cloud.ports(cloud.server(image=cloud.agent_image))) == [GUEST_AGENT]


def test_the_host_agent_finds_it(cloud, here):
    """It wants the domain at once, and attaches when libvirt has given the running port a name."""
    text = cloud.domain_xml(here)
    assert read_domain(text).services
    alias = f'<target type="virtio" name="{PORT}"/><alias name="channel0"/>'
    running = text.replace(f'<target type="virtio" name="{PORT}"/>', alias)
    port = read_domain(running).ports["channel0"]
    assert {port.name: port.path} == sole_port(here)


def test_a_hard_reboot_keeps_it(cloud, here):
    cloud.compute.reboot_server(here, "HARD")
    assert cloud.ports(cloud.settled(here, "active")) == sole_port(here)


def test_a_stop_and_a_start_keep_it(cloud, here):
    cloud.compute.stop_server(here)
    cloud.settled(here, "stopped")
    cloud.compute.start_server(here)
    assert cloud.ports(cloud.settled(here, "active")) == sole_port(here)


def test_a_rebuild_keeps_it(cloud, here):
    cloud.compute.rebuild_server(here, image=cloud.agent_image)
    assert list(cloud.ports(cloud.settled(here, "active"))) == [GUEST_AGENT, PORT]
    cloud.compute.rebuild_server(here, image=cloud.image)
    assert cloud.ports(cloud.settled(here, "active")) == sole_port(here)


def test_a_live_migration_takes_it_along(cloud, here):
    cloud.compute.live_migrate_server(here, host=None, block_migration="auto")
    there = cloud.moved(here)
    assert cloud.ports(there) == sole_port(here)


def test_an_evacuation_gives_it_again(cloud):
    server = cloud.server(ASKS, host=DOOMED_HOST)
    cloud.force_down(DOOMED_HOST)
    cloud.compute.evacuate_server(server)
    assert cloud.ports(cloud.moved(server)) == sole_port(server)


def test_a_resize_goes_by_the_new_flavor_and_its_revert_by_the_old_one(cloud):
    server = cloud.server()
    cloud.compute.resize_server(server, cloud.flavor(ASKS).id)
    assert cloud.ports(cloud.settled(server, "resized")) == sole_port(server)
    cloud.compute.confirm_server_resize(server)
    cloud.settled(server, "active")
    cloud.compute.resize_server(server, cloud.flavor().id)
    assert cloud.ports(cloud.settled(server, "resized")) == {}
    cloud.compute.revert_server_resize(server)
    assert cloud.ports(cloud.settled(server, "active")) == sole_port(server)


def test_a_rescue_keeps_it(cloud):
    server = cloud.server(ASKS)
    cloud.compute.rescue_server(server)
    assert cloud.ports(cloud.settled(server, "rescued")) == sole_port(server)
    cloud.compute.unrescue_server(server)
    assert cloud.ports(cloud.settled(server, "active")) == sole_port(server)
