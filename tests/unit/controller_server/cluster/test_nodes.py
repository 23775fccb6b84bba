"""Two controllers in one process, on one database and one bus, and the agents of three hosts."""

import asyncio
import contextlib
import uuid

import pytest

from reachthru.bus import agent_bus, controller_bus, memory
from reachthru.controller_server import inventory as inventory_module
from reachthru.controller_server.cluster import host_watch, presence
from reachthru.controller_server.cluster import leadership as leadership_module
from reachthru.controller_server.cluster import lease as lease_module
from reachthru.controller_server.cluster.forgetting import HostAliveError, UnknownHostError
from reachthru.controller_server.cluster.node import wait_for_groups
from reachthru.controller_server.store import leases
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.protocol.agent_bus import GroupNotification, ReportRequest

# tests/integration/cluster has PostgreSQL.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

TTL_S = 0.6
LOST_AFTER_S = 1.0
PERIOD_S = 0.2  # of agents' reports
HOSTS = ["compute-0", "compute-1", "compute-2"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for module, name, value in (
        (leases, "LEADER_TTL_S", TTL_S),
        (lease_module, "LEADER_TTL_S", TTL_S),
        (leadership_module, "RENEW_S", TTL_S / 4),
        (leadership_module, "UNLED_S", TTL_S * 1.25),
        (presence, "LOOK_S", 0.05),
        (host_watch, "LOOK_S", 0.05),
        (presence, "SETTLE_S", 0.5),
        (presence, "ASK_PATIENCE_S", 0.1),
        (presence, "PROOF_S", 0.3),
        (presence, "ECHO_S", 0.3),
        (inventory_module, "ROLL_CALL_S", 0.5),
    ):
        monkeypatch.setattr(module, name, value)


class Agent:
    """Reports each `PERIOD_S`, and when it is asked."""

    def __init__(self, url, host, make_report):
        self.bus = agent_bus(url, host)
        self.host = host
        self.notified = []
        self.instances = [f"{host}-vm"]
        self._make_report = make_report
        self._tasks = []

    async def start(self):
        await self.bus.__aenter__()
        self._tasks = [asyncio.create_task(self._go_on()), asyncio.create_task(self._listen())]

    async def report(self):
        with contextlib.suppress(Exception):
            await self.bus.send(self._make_report(*self.instances, host=self.host))

    async def stop(self):
        await self.bus.__aexit__(None, None, None)
        self.die()

    def die(self):
        for task in self._tasks:
            task.cancel()

    async def _go_on(self):
        while True:
            await self.report()
            await asyncio.sleep(PERIOD_S)

    async def _listen(self):
        async for message in self.bus.messages():
            if isinstance(message, ReportRequest):
                await self.report()
            elif isinstance(message, GroupNotification):
                self.notified.append(message)


class Controller:
    def __init__(self, bus, database, ledger, node, follower):
        self.bus, self.database, self.ledger, self.node = bus, database, ledger, node
        self.follower = follower
        self.tasks = []

    @property
    def leads(self):
        return self.node.leadership.leads()

    def states(self):
        return {host.host: host.state for host in self.node.inventory.hosts()}


class Cloud:
    def __init__(self, stack, url, database_url, make_node, make_report):
        self.url = url
        self.broker = memory.broker(url.removeprefix("memory://"))
        self.agents = {host: Agent(url, host, make_report) for host in HOSTS}
        self._stack = stack
        self._database_url = database_url
        self._make_node = make_node

    async def start_controller(self, name):
        database = Database(self._database_url)
        await database.open()
        self._stack.push_async_callback(database.close)
        ledger = Ledger(database, ["log"], name)
        bus = controller_bus(self.url, name)
        node = self._make_node(bus, database=database, ledger=ledger, lost_after_s=LOST_AFTER_S)
        await node.open()
        await wait_for_groups(node.groups.directory)
        made = Controller(bus, database, ledger, node, node._events.follow())
        made.tasks = [asyncio.create_task(part) for _name, part in node.parts()]
        bus.on_connection = node.connection
        await self._stack.enter_async_context(bus)
        made.tasks.append(asyncio.create_task(node.take_work()))
        self._stack.push_async_callback(self.kill, made)
        return made

    async def kill(self, controller):
        """As kill -9 does: no lease is given back, and no word is said."""
        self.broker.kill_controller(controller.bus.name)
        for task in controller.tasks:
            task.cancel()
        await asyncio.gather(*controller.tasks, return_exceptions=True)
        if controller.node._roll_call is not None:
            controller.node._roll_call.cancel()

    def kill_host(self, host):
        self.agents[host].die()
        self.broker.kill(host)


@pytest.fixture
async def cloud(database_url, database, make_node, make_report, tmp_path):
    (tmp_path / "groups.yaml").write_text(
        "g: [" + ", ".join(f"{host}-vm" for host in HOSTS) + "]\n"
    )
    async with contextlib.AsyncExitStack() as stack:
        url = f"memory://{uuid.uuid4().hex}"
        made = Cloud(stack, url, database_url, make_node, make_report)
        for agent in made.agents.values():
            await agent.start()
            stack.callback(agent.die)
        yield made


@pytest.fixture
async def pair(cloud, wait_until):
    """The leader and its follower, who know all hosts."""
    first = await cloud.start_controller("a")
    await wait_until(lambda: first.leads)
    second = await cloud.start_controller("b")
    await wait_until(lambda: len(first.states()) == len(second.states()) == len(HOSTS))
    return first, second


async def faults(controller):
    found = await controller.ledger.faults(FaultFilter())
    return [(fault.kind, fault.host, fault.status) for fault in found]


async def until_faults(controller, expected):
    async with asyncio.timeout(20):
        while await faults(controller) != expected:
            await asyncio.sleep(0.02)


async def events(controller, kind, count):
    """The first `count` events of a kind that a follower of this controller was sent."""
    found = []
    async with asyncio.timeout(20):
        async for event in controller.follower.events():
            if event is not None and event.kind == kind:
                found.append(event.data)
            if len(found) == count:
                return found
    return None


async def test_a_host_that_dies_is_lost_and_back_on_every_controller(cloud, pair, wait_until):
    leader, _follower = pair
    cloud.kill_host("compute-1")
    await until_faults(leader, [("host_lost", "compute-1", "raised")])
    for controller in pair:
        await wait_until(lambda it=controller: it.states()["compute-1"] == "offline")
        await wait_until(lambda it=controller: it.node.watch.lost == 1)
        (told,) = await events(controller, "fault", 1)
        assert '"instances":["compute-1-vm"]' in told
    back = Agent(cloud.url, "compute-1", cloud.agents["compute-1"]._make_report)
    await back.start()
    await until_faults(leader, [("host_lost", "compute-1", "cleared")])
    for controller in pair:
        assert controller.states()["compute-1"] == "online"
        await wait_until(lambda it=controller: it.node.watch.lost == 0)
    await back.stop()


async def test_a_host_that_an_operator_gives_up_is_forgotten_by_all(
    cloud, pair, make_change, wait_until
):
    leader, follower = pair
    await cloud.agents["compute-1"].bus.send(
        make_change(1, fault_id="its own", host="compute-1", instance_uuid="compute-1-vm")
    )
    cloud.kill_host("compute-1")
    await until_faults(
        leader,
        [("host_lost", "compute-1", "raised"), ("heartbeat_lost", "compute-1", "raised")],
    )
    await wait_until(lambda: follower.node.watch.lost == 1)
    assert await follower.node.forgetting.forget("compute-1") == 2
    for fault in await leader.ledger.faults(FaultFilter()):
        assert (fault.status, fault.host) == ("cleared", "compute-1")
        assert fault.detail == "an operator said that its host never returns"
    for controller in pair:
        await wait_until(lambda it=controller: "compute-1" not in it.states())
        await wait_until(lambda it=controller: it.node.watch.lost == 0)
        assert controller.node.inventory.instance("compute-1-vm") is None
    later = await cloud.start_controller("c")
    assert "compute-1" not in later.states()
    await asyncio.sleep(2 * LOST_AFTER_S)
    assert {status for _kind, _host, status in await faults(leader)} == {"cleared"}
    with pytest.raises(UnknownHostError):
        await leader.node.forgetting.forget("compute-1")
    with pytest.raises(HostAliveError, match="stop it first"):
        await leader.node.forgetting.forget("compute-0")
    back = Agent(cloud.url, "compute-1", cloud.agents["compute-1"]._make_report)
    await back.start()  # after all
    for controller in pair:
        await wait_until(lambda it=controller: it.states().get("compute-1") == "online")
    await back.stop()


async def test_whoever_takes_over_finds_the_host_lost_once(cloud, pair):
    leader, follower = pair
    cloud.kill_host("compute-1")
    await asyncio.sleep(LOST_AFTER_S / 2)
    await cloud.kill(leader)
    await until_faults(follower, [("host_lost", "compute-1", "raised")])
    later = await cloud.start_controller("c")
    await cloud.kill(follower)
    cloud.kill_host("compute-2")
    await until_faults(
        later, [("host_lost", "compute-2", "raised"), ("host_lost", "compute-1", "raised")]
    )


async def test_a_goodbye_is_offline_and_not_lost_for_later_controllers_too(cloud, pair, wait_until):
    leader, follower = pair
    await cloud.agents["compute-1"].stop()
    await wait_until(lambda: leader.states()["compute-1"] == "offline")
    await asyncio.sleep(0.2)  # it is written down
    third = await cloud.start_controller("c")
    await cloud.kill(leader)
    await cloud.kill(follower)
    await wait_until(lambda: third.leads)
    await asyncio.sleep(3 * LOST_AFTER_S)
    assert await faults(third) == []
    assert third.states()["compute-1"] == "offline"


async def test_nobody_is_lost_for_a_broker_that_is_away(cloud, pair):
    leader, _follower = pair
    cloud.broker.cut()
    await asyncio.sleep(2 * LOST_AFTER_S)
    cloud.broker.heal()
    await asyncio.sleep(2 * LOST_AFTER_S)
    assert await faults(leader) == []


async def test_nobody_is_lost_for_a_bus_that_only_seems_to_be_there(cloud, pair, wait_until):
    leader, _follower = pair
    cloud.broker.publish_news = lambda _host, _payload: None
    cloud.broker.publish_to_controllers = lambda _payload: None
    await wait_until(lambda: leader.node.watch.suspects_carrier)
    await asyncio.sleep(3 * LOST_AFTER_S)
    assert await faults(leader) == []
    del cloud.broker.publish_news, cloud.broker.publish_to_controllers
    await wait_until(lambda: not leader.node.watch.suspects_carrier)
    await asyncio.sleep(2 * LOST_AFTER_S)
    assert await faults(leader) == []


async def test_all_hosts_are_lost_if_the_bus_carries_an_echo(cloud, pair):
    leader, _follower = pair
    for host in HOSTS:
        cloud.kill_host(host)
    async with asyncio.timeout(20):
        while sorted(await faults(leader)) != [("host_lost", host, "raised") for host in HOSTS]:
            await asyncio.sleep(0.02)


async def calm(cloud):
    """Everybody knows of the beginning, and nobody would tell of it again."""
    await asyncio.sleep(2 * TTL_S)
    for agent in cloud.agents.values():
        agent.notified.clear()


async def test_peers_hear_once_of_a_change_whoever_leads(cloud, pair, wait_until):
    await calm(cloud)
    agent, peer = cloud.agents["compute-0"], cloud.agents["compute-1"]
    agent.instances = []
    await wait_until(lambda: peer.notified)
    await asyncio.sleep(0.3)
    assert [note.payload["state"] for note in peer.notified] == ["stopped"]


async def test_what_a_dead_leader_did_not_tell_its_successor_tells(cloud, pair, wait_until):
    leader, follower = pair
    await calm(cloud)
    agent, peer = cloud.agents["compute-0"], cloud.agents["compute-1"]
    await cloud.kill(leader)
    agent.instances = []
    await wait_until(lambda: peer.notified)
    (note,) = peer.notified
    assert note.payload["instance_id"] == "compute-0-vm"
    assert follower.leads


async def test_what_the_dead_leader_told_is_told_again_exactly_so(cloud, pair, wait_until):
    """Agents drop exact repeats."""
    leader, follower = pair
    await calm(cloud)
    agent, peer = cloud.agents["compute-0"], cloud.agents["compute-1"]
    agent.instances = []
    await wait_until(lambda: peer.notified)
    await cloud.kill(leader)
    await wait_until(lambda: follower.leads)
    await wait_until(lambda: len(peer.notified) == 2)
    assert peer.notified[0] == peer.notified[1]


async def test_faults_that_one_stores_are_known_to_all(cloud, pair, make_change, wait_until):
    for seq in range(1, 21):
        await cloud.agents["compute-0"].bus.send(
            make_change(seq, host="compute-0", instance_uuid="compute-0-vm")
        )
    for controller in pair:
        await wait_until(lambda it=controller: len(it.node._census.faults("compute-0-vm")) == 20)
        told = await events(controller, "fault", 20)
        assert len(set(told)) == 20
