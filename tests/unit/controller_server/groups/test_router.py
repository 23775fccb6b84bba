"""Who hears what: the router between a directory and agents that tests play."""

import asyncio
import uuid

import pytest

from reachthru.bus import agent_bus, controller_bus
from reachthru.controller_server.groups.base import Group, GroupDirectory, Member, MemberChange
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.router import GroupRouter
from reachthru.controller_server.groups.visible import hidden_host
from reachthru.controller_server.metrics import Metrics
from reachthru.protocol.agent_bus import (
    AgentReport,
    GroupAck,
    GroupBroadcast,
    GroupDelivery,
    GroupNotification,
    GroupQuery,
    GroupStatus,
    InstanceReport,
)
from reachthru.protocol.group_port import ANSWER_LIMIT_S

GROUPS = {"g": ["g1", "g2", "g3"], "h": ["h1", "h2"]}
PLACES = {"a": ["g1", "h1", "alone"], "b": ["g2", "g3", "h2"]}


class Directory(GroupDirectory):
    is_stale = False
    known = True

    async def run(self):
        raise NotImplementedError

    async def ready(self):
        raise NotImplementedError

    @property
    def stale(self):
        return self.is_stale

    def groups(self):
        return [self.group(name) for name in GROUPS] if self.known else []

    def group(self, group_id):
        uuids = GROUPS.get(group_id) if self.known else None
        return uuids and Group(id=group_id, name=group_id, members=[member(u) for u in uuids])

    def group_of(self, instance_uuid):
        return next((g for g in self.groups() if instance_uuid in str(g.members)), None)


def member(uuid, state="active"):
    status = {
        "instance_id": uuid,
        "host": "a",
        "node": "a.example",
        "fault": "internal",
        "metadata": {"k": "v" * 6000},
    }
    return Member(
        uuid=uuid, name=f"instance-{uuid}", host="a", state=state, project_id="p", status=status
    )


def report(host, uuids):
    return AgentReport(
        host=host,
        agent_version="1",
        sent_at="2026-01-01T00:00:00.000000+00:00",
        lateness_ms=0.0,
        guests=len(uuids),
        full=True,
        instances=[
            InstanceReport(uuid=uuid, name=uuid, state="running", registered=True) for uuid in uuids
        ],
    )


class Setup:
    def __init__(self, bus, agents):
        self.census = Census()
        self.directory = Directory()
        self.metrics = Metrics()
        self.agents = agents
        self.leads = True
        self.router = GroupRouter(
            bus,
            self.directory,
            self.census,
            self.metrics,
            show_hosts=False,
            leads=lambda: self.leads,
        )
        for host, uuids in PLACES.items():
            self.census.take_report(report(host, uuids))

    async def told(self, host, within_s=0.03):
        """Everything that this agent is told; refusals are, of acknowledgements, by default."""
        await asyncio.sleep(within_s)
        inbox = self.agents[host].inbox
        return [inbox._queue.get_nowait() for _ in range(inbox._queue.qsize())]

    def metric(self, line):
        text = self.metrics.render({})
        return [found for found in text.decode().splitlines() if found.startswith(line)]


@pytest.fixture
async def setup():
    url = f"memory://{uuid.uuid4().hex}"
    async with (
        controller_bus(url, "c") as bus,
        agent_bus(url, "a") as a,
        agent_bus(url, "b") as b,
    ):
        made = Setup(bus, {"a": a, "b": b})
        yield made
        made.router.close()


async def test_one_message_a_host_to_the_others_only(setup):
    setup.router.take("b", GroupBroadcast(id=1, sender="g2", data="hello"))
    assert await setup.told("a") == [
        GroupDelivery(source_instance="instance-g2", recipients=["g1"], data="hello")
    ]
    assert await setup.told("b") == [
        GroupDelivery(source_instance="instance-g2", recipients=["g3"], data="hello")
    ]


async def test_what_was_taken_is_acknowledged_before_the_agent_gives_it_up(setup):
    for number in range(3):
        setup.router.take("b", GroupBroadcast(id=number, sender="g2", data="hello"))
        await asyncio.sleep(0.03)
    *_deliveries, ack = await setup.told("b", ANSWER_LIMIT_S / 2)
    assert ack == GroupAck(taken=[0, 1, 2])


async def test_a_refusal_waits_for_nothing(setup):
    for number in range(3):
        setup.router.take("a", GroupBroadcast(id=number, sender="g1", data="x"))
    setup.router.take("a", GroupBroadcast(id=3, sender="alone", data="x"))
    (ack,) = await setup.told("a")
    assert ack.taken == [0, 1, 2]
    assert [(r.id, r.log_msg) for r in ack.refused] == [(3, "not a member of any server group")]


async def test_a_sender_that_its_host_does_not_carry_is_refused(setup):
    setup.router.take("a", GroupBroadcast(id=1, sender="g2", data="forged"))
    await asyncio.sleep(0.6)
    (ack,) = await setup.told("a")
    assert [refusal.id for refusal in ack.refused] == [1]
    assert await setup.told("b") == []


async def test_a_sender_that_is_reported_a_little_later_is_heard_in_order(setup):
    GROUPS["g"].append("g4")
    try:
        for number in range(3):
            setup.router.take("b", GroupBroadcast(id=number, sender="g4", data=str(number)))
        assert await setup.told("a") == []
        setup.census.take_report(report("b", [*PLACES["b"], "g4"]))
        assert [delivery.data for delivery in await setup.told("a")] == ["0", "1", "2"]
    finally:
        GROUPS["g"].remove("g4")


async def test_what_no_agent_should_have_sent_is_refused(setup):
    setup.router.take("a", GroupBroadcast(id=1, sender="g1", data="x" * 3051))
    (ack,) = await setup.told("a")
    assert "3051" in ack.refused[0].log_msg
    assert await setup.told("b") == []


async def test_a_members_host_is_what_its_agent_says_and_not_what_nova_says(setup):
    """The directory has everybody on `a`."""
    setup.router.take("a", GroupBroadcast(id=1, sender="h1", data="x"))
    (delivery,) = await setup.told("b")
    assert delivery.recipients == ["h2"]


async def test_losses_are_counted(setup):
    setup.census.take_report(report("b", []))  # Nova has them on `a`, whose agent has not
    setup.router.take("a", GroupBroadcast(id=1, sender="g1", data="x"))
    assert await setup.told("b") == []
    setup.census.take_report(report("b", PLACES["b"]))
    setup.census.take_offline("b")
    setup.router.take("a", GroupBroadcast(id=2, sender="g1", data="x"))
    assert setup.metric('reachthru_group_losses_total{reason="host_offline"}') == [
        'reachthru_group_losses_total{reason="host_offline"} 2.0'
    ]


async def test_before_the_directory_knows_anything_nobody_is_called_groupless(setup):
    setup.directory.known, setup.directory.is_stale = False, True
    setup.router.take("a", GroupBroadcast(id=1, sender="g1", data="x"))
    (ack,) = await setup.told("a")
    assert ack.refused[0].log_msg == "controller unavailable"


async def test_a_status_holds_what_guests_may_know(setup):
    setup.router.take("b", GroupQuery(id=9, asker="g2"))
    (status,) = await setup.told("b")
    assert isinstance(status, GroupStatus) and status.id == 9
    assert [told["instance_id"] for told in status.members] == ["g1", "g2", "g3"]
    for told in status.members:
        assert told["host"] == hidden_host("p", "a") != told["node"]
        assert told["state"] == "active"
        assert "fault" not in told and "stale" not in told
        assert "metadata" not in told  # no guest could read it


async def test_an_old_status_says_so(setup):
    setup.directory.is_stale = True
    setup.router.take("b", GroupQuery(id=9, asker="g2"))
    (status,) = await setup.told("b")
    assert all(told["stale"] is True for told in status.members)


async def test_who_is_in_no_group_hears_of_itself(setup):
    setup.router.take("a", GroupQuery(id=1, asker="alone"))
    (status,) = await setup.told("a")
    assert [told["instance_id"] for told in status.members] == ["alone"]
    assert status.members[0]["host"] not in (None, "a")


async def test_a_members_new_state_is_told_to_its_peers_where_they_are(setup):
    change = MemberChange(
        group_id="g",
        member=member("g1", state="error"),
        event_type="compute.instance.update",
        priority="ERROR",
        timestamp="2026-01-01T00:00:00.000000+00:00",
    )
    setup.directory.on_change(change)
    assert await setup.told("a") == []
    (news,) = await setup.told("b")
    assert isinstance(news, GroupNotification)
    assert news.recipients == ["g2", "g3"]
    assert (news.event_type, news.priority) == ("compute.instance.update", "ERROR")
    assert news.payload["state"] == "error"
    assert news.payload["host"] == hidden_host("p", "a")


def test_hosts_are_hidden_per_project_as_novas_host_id_is():
    assert hidden_host("p", "a") == hidden_host("p", "a")
    assert len({hidden_host("p", "a"), hidden_host("q", "a"), hidden_host("p", "b")}) == 3
    # sha224(project_id + host), as nova.compute.api and nova.objects.instance have it
    assert hidden_host("p", "a") == "0aef154f6837f72792781e730203e98f3ee393a4f81597913f72e364"
