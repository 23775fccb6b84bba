"""What every carrier between agents and controllers promises."""

import asyncio
import contextlib
import logging
import time

import msgspec
import pytest

from reachthru.bus import BusRefusedError, BusUnavailableError, agent_bus, controller_bus
from reachthru.bus.inbox import PAYLOAD_LIMIT_BYTES
from reachthru.protocol.agent_bus import (
    AgentOffline,
    AgentReport,
    FaultAck,
    FaultBatch,
    FaultChange,
    GroupAck,
    GroupBroadcast,
    GroupDelivery,
    ReportRequest,
    encode,
    read_batch,
)
from reachthru.protocol.controller_bus import ControllerNews

DEADLINE_S = 20


def report(host="compute-0", **changes):
    values = {
        "host": host,
        "agent_version": "1",
        "sent_at": "2026-01-01T00:00:00.000000+00:00",
        "lateness_ms": 0.5,
        "guests": 0,
        "full": True,
    }
    return AgentReport(**(values | changes))


def fault(seq=1, host="compute-0"):
    return FaultChange(
        fault_id=f"fault-{seq}",
        seq=seq,
        status="raised",
        kind="heartbeat_lost",
        severity="critical",
        instance_uuid="uuid",
        instance_name="name",
        host=host,
        raised_at="2026-01-01T00:00:00.000000+00:00",
    )


def broadcast(number):
    return GroupBroadcast(id=number, sender="uuid", data="x" * 1000)


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def joined(*ends):
    """The ends, entered, and connected."""
    async with contextlib.AsyncExitStack() as stack:
        for end in ends:
            await stack.enter_async_context(end)
        await until(lambda: all(end.connected for end in ends))
        yield


@contextlib.asynccontextmanager
async def gathering(*ends):
    """A list an end, of what it has heard until now."""
    heard = [[] for _ in ends]

    async def gather(end, messages):
        async for message in end.messages():
            messages.append(message)

    tasks = [asyncio.create_task(gather(*pair)) for pair in zip(ends, heard, strict=True)]
    try:
        yield heard
    finally:
        for task in tasks:
            task.cancel()


async def take(end, count):
    """The next `count` messages."""
    taken = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in end.messages():
            taken.append(message)
            if len(taken) == count:
                break
    return taken


async def test_an_agents_message_arrives_with_its_host(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(agent, controller):
        await agent.send(report())
        assert await take(controller, 1) == [("compute-0", report())]


async def test_every_controller_hears_the_news_of_every_agent(carrier):
    agents = [agent_bus(carrier.url, host) for host in ("compute-0", "compute-1")]
    controllers = [controller_bus(carrier.url, name) for name in ("a", "b")]
    async with joined(*agents, *controllers):
        for agent, host in zip(agents, ("compute-0", "compute-1"), strict=True):
            await agent.send(report(host))
        for controller in controllers:
            heard = {host for host, _message in await take(controller, 2)}
            assert heard == {"compute-0", "compute-1"}


async def test_work_goes_to_exactly_one_controller_and_to_each_its_share(sharing_carrier):
    agent = agent_bus(sharing_carrier.url, "compute-0")
    controllers = [controller_bus(sharing_carrier.url, name) for name in ("a", "b", "c")]
    async with joined(agent, *controllers), gathering(*controllers) as heard:
        for seq in range(300):
            await agent.send(fault(seq))
        await until(lambda: sum(map(len, heard)) >= 300)
        await asyncio.sleep(0.1)  # time for what must not come
    seqs = [[message.seq for _host, message in one] for one in heard]
    assert sorted(seq for share in seqs for seq in share) == list(range(300))
    assert all(len(share) > 50 for share in seqs)
    assert all(share == sorted(share) for share in seqs)


async def test_a_batch_of_faults_goes_to_one_controller_whole_and_in_order(sharing_carrier):
    agent = agent_bus(sharing_carrier.url, "compute-0")
    controllers = [controller_bus(sharing_carrier.url, name) for name in ("a", "b")]
    faults = [fault(seq) for seq in range(1, 51)]
    raws = [msgspec.Raw(encode(change)) for change in faults]
    async with joined(agent, *controllers), gathering(*controllers) as heard:
        await agent.send(FaultBatch(host="compute-0", changes=raws))
        await until(lambda: any(heard))
        await asyncio.sleep(0.1)  # nobody else is to hear it
    ((host, batch),) = [*heard[0], *heard[1]]
    assert host == "compute-0"
    assert list(read_batch(batch)) == faults


async def test_what_a_killed_controller_would_have_got_goes_to_the_others(sharing_carrier):
    agent = agent_bus(sharing_carrier.url, "compute-0")
    survivor = controller_bus(sharing_carrier.url, "survivor")
    victim, kill = await sharing_carrier.mortal_controller("victim")
    async with joined(agent, survivor, victim), gathering(survivor, victim) as heard:
        for turn in range(100):  # RabbitMQ's consumers begin some time after they are connected
            await agent.send(fault(turn))
            await until(lambda wanted=turn + 1: sum(map(len, heard)) == wanted)
            if all(heard):
                break
        assert all(heard)
        before = len(heard[1])
        await kill()
        for turn in range(100, 200):  # as an agent repeats what nobody acknowledged
            await agent.send(fault(turn))
            if len(heard[0]) >= 50:
                break
            await asyncio.sleep(0.01)
        survivors = {message.seq for _host, message in heard[0]}
    assert len(survivors) >= 50
    assert len(heard[1]) <= before + 50  # nothing but what was on its way


async def test_a_controllers_news_come_to_the_other_controllers_only(carrier):
    agent = agent_bus(carrier.url, "compute-0")
    a, b, c = controllers = [controller_bus(carrier.url, name) for name in ("a", "b", "c")]
    news = ControllerNews(controller="a", changes=[fault(1), fault(2)])
    async with joined(agent, *controllers):
        assert a.tell_controllers(news)
        assert await take(b, 1) == [("a", news)]
        assert await take(c, 1) == [("a", news)]
        await agent.send(report())
        assert await take(a, 1) == [("compute-0", report())]
        assert not a.refused


async def test_news_in_nobodys_name_comes_back(carrier):
    a, b = controllers = [controller_bus(carrier.url, name) for name in ("a", "b")]
    echo = ControllerNews(controller="a/echo", changes=[])
    async with joined(*controllers):
        assert a.tell_controllers(echo)
        assert await take(a, 1) == [("a/echo", echo)]
        assert await take(b, 1) == [("a/echo", echo)]


async def test_news_without_a_broker_is_refused(carrier):
    controller = controller_bus(carrier.url, "a")
    async with joined(controller):
        await carrier.cut()
        await until(lambda: not controller.connected)
        assert not controller.tell_controllers(ControllerNews(controller="a", changes=[]))
        await carrier.heal()


async def test_work_that_comes_as_news_is_refused(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(agent, controller):
        await carrier.publish_news("compute-0", encode(fault()))
        await carrier.publish_news("compute-0", encode(broadcast(1)))
        await until(lambda: controller.refused == {"garbled": 2})
        await agent.send(report())
        assert await take(controller, 1) == [("compute-0", report())]


async def test_a_word_to_one_agent_is_for_that_agent_only(carrier):
    one, other = agent_bus(carrier.url, "compute-0"), agent_bus(carrier.url, "compute-1")
    controller = controller_bus(carrier.url, "a")
    async with joined(one, other, controller):
        await controller.send("compute-0", FaultAck(seqs=[7]))
        await controller.send_to_all(ReportRequest())
        assert await take(one, 2) == [FaultAck(seqs=[7]), ReportRequest()]
        assert await take(other, 1) == [ReportRequest()]


async def test_one_agents_messages_keep_their_order(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(agent, controller):
        await asyncio.gather(*(agent.send(fault(seq)) for seq in range(500)))
        arrived = [message.seq for _host, message in await take(controller, 500)]
    assert arrived == list(range(500))


async def test_what_is_offered_keeps_its_order_both_ways(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(agent, controller):
        assert all(agent.offer(broadcast(number)) for number in range(100))
        assert await take(controller, 100) == [("compute-0", broadcast(n)) for n in range(100)]
        assert all(controller.offer("compute-0", GroupAck(taken=[n])) for n in range(100))
        assert [ack.taken for ack in await take(agent, 100)] == [[n] for n in range(100)]


async def test_what_is_offered_without_a_broker_is_refused_and_never_comes(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(agent, controller):
        await carrier.cut()
        await until(lambda: not agent.connected and not controller.connected)
        assert not agent.offer(broadcast(1))
        assert not controller.offer("compute-0", GroupAck(taken=[1]))
        await carrier.heal()
        await until(lambda: agent.connected and controller.connected)
        assert agent.offer(broadcast(2))
        while (await take(controller, 1))[0][1] != broadcast(2):
            pass  # what the cut itself said


async def test_an_agent_that_leaves_says_goodbye(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(controller):
        async with joined(agent):
            pass
        goodbye = ("compute-0", AgentOffline(host="compute-0", clean=True))
        assert await take(controller, 1) == [goodbye]
        await carrier.publish_news("compute-1", encode(report("compute-1")))
        # What comes next is not the last will.
        assert await take(controller, 1) == [("compute-1", report("compute-1"))]


async def test_the_last_will_of_an_agent_that_vanished_is_published(willing_carrier):
    agent = agent_bus(willing_carrier.url, "compute-0")
    direct_url = getattr(willing_carrier, "direct_url", willing_carrier.url)
    controller = controller_bus(direct_url, "a")
    async with joined(agent, controller):
        await willing_carrier.vanish("compute-0")
        will = ("compute-0", AgentOffline(host="compute-0", clean=False))
        assert await take(controller, 1) == [will]


async def test_whoever_claims_another_host_is_refused(carrier, caplog):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(agent, controller):
        for _ in range(3):
            await carrier.publish_up("compute-0", encode(fault(1, host="compute-9")))
            await carrier.publish_news("compute-0", encode(report("compute-9")))
        await agent.send(report())
        assert await take(controller, 1) == [("compute-0", report())]
        assert controller.refused == {"wrong_host": 6}
    complaints = [line for line in caplog.messages if "compute-9" in line]
    assert len(complaints) == 2  # one a topic


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\xfe", b"{", b"[]", b'{"type":5}', b"[" * 5000, b'{"type":"fault","v":1}'],
)
async def test_a_garbled_payload_costs_itself_only(carrier, caplog, payload):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(agent, controller):
        await carrier.publish_up("compute-0", payload)
        await carrier.publish_up("compute-0", payload)
        await until(lambda: controller.refused["garbled"] == 2)
        await agent.send(report())
        assert await take(controller, 1) == [("compute-0", report())]
    complaints = [line for line in caplog.messages if f"of {len(payload)} bytes" in line]
    assert len(complaints) == 1
    assert "compute-0" in complaints[0]


@pytest.mark.parametrize("host", ["compute-0.example.org", "rechner-ü", "計算ノード-1 🖥"])
async def test_names_and_texts_of_any_script_arrive_as_they_are(carrier, host):
    text = 'Größe 大きさ مقاس 🖥 "\\\n\t\x7f\u2028'
    agent, controller = agent_bus(carrier.url, host), controller_bus(carrier.url, "Überwacher")
    async with joined(agent, controller):
        await agent.send(report(host, agent_version=text))
        assert await take(controller, 1) == [(host, report(host, agent_version=text))]
        assert controller.offer(host, GroupDelivery(source_instance="i", recipients=[], data=text))
        delivered = await take(agent, 1)
        assert delivered[0].data == text


async def test_four_mib_are_carried_and_more_is_refused_by_the_sender(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    longest = report(agent_version="")
    longest.agent_version = "x" * (PAYLOAD_LIMIT_BYTES - len(encode(longest)))
    too_long = report(agent_version=longest.agent_version + "x")
    async with joined(agent, controller):
        with pytest.raises(BusRefusedError, match="too long"):
            await agent.send(too_long)
        assert not agent.offer(too_long)
        await agent.send(longest)
        assert await take(controller, 1) == [("compute-0", longest)]
        assert agent.connected


async def test_a_payload_that_is_too_long_costs_itself_only(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    told = []
    controller.on_connection = told.append
    async with joined(agent, controller):
        long = encode(report(agent_version="x" * PAYLOAD_LIMIT_BYTES))
        with contextlib.suppress(ConnectionError):  # a broker may end such a talk
            await carrier.publish_news("compute-0", long)
        await agent.send(report())
        assert await take(controller, 1) == [("compute-0", report())]
        assert told == [True]


async def test_what_is_sent_again_comes_again(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    async with joined(agent, controller):
        for _ in range(3):  # whether it is a repeat is for its reader to judge, by its ids
            await agent.send(fault(1))
        assert await take(controller, 3) == [("compute-0", fault(1))] * 3


async def test_a_cut_is_told_and_healed(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")
    told = []
    agent.on_connection = told.append
    async with joined(agent, controller):
        await carrier.cut()
        await until(lambda: not agent.connected and not controller.connected)
        with pytest.raises(BusUnavailableError):
            await agent.send(report())
        with pytest.raises(BusUnavailableError):
            await controller.send("compute-0", ReportRequest())
        with pytest.raises(BusUnavailableError):
            await controller.send_to_all(ReportRequest())
        await carrier.heal()
        await until(lambda: agent.connected and controller.connected)
        assert told == [True, False, True]
        await agent.send(fault(2))
        async with asyncio.timeout(DEADLINE_S):
            async for _host, message in controller.messages():
                if isinstance(message, FaultChange):  # wills may have come before
                    break
        await controller.send("compute-0", FaultAck(seqs=[2]))
        assert await take(agent, 1) == [FaultAck(seqs=[2])]


async def test_messages_end_when_the_bus_is_left(carrier):
    agent, controller = agent_bus(carrier.url, "compute-0"), controller_bus(carrier.url, "a")

    async def read_all(end):
        return [message async for message in end.messages()]

    async with joined(agent, controller):
        reading = [asyncio.create_task(read_all(end)) for end in (agent, controller)]
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*reading)


async def test_a_broker_that_falls_silent_fails_senders_within_seconds(remote_carrier):
    agent = agent_bus(remote_carrier.url, "compute-0")
    async with joined(agent):
        await remote_carrier.freeze()
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(agent.send(fault(seq)) for seq in range(300)), return_exceptions=True
        )
        assert time.monotonic() - started < 5
        assert all(isinstance(outcome, BusUnavailableError) for outcome in outcomes)
        await remote_carrier.thaw()
        await until(lambda: agent.connected)


async def test_a_silent_broker_holds_up_nobody_who_leaves(remote_carrier):
    agent, controller = (
        agent_bus(remote_carrier.url, "compute-0"),
        controller_bus(remote_carrier.url, "a"),
    )
    async with joined(agent, controller):
        await remote_carrier.freeze()
        started = time.monotonic()
    assert time.monotonic() - started < 3
    await remote_carrier.thaw()


async def test_what_a_silent_broker_is_offered_is_bounded_and_never_waits(remote_carrier):
    agent = agent_bus(remote_carrier.url, "compute-0")
    async with joined(agent):
        await remote_carrier.freeze()
        taken, longest_s = 0, 0.0
        while True:
            started = time.monotonic()
            accepted = agent.offer(broadcast(taken))
            longest_s = max(longest_s, time.monotonic() - started)
            if not accepted:
                break
            taken += 1
            assert taken < 50_000
        assert longest_s < 0.5  # it never waits; a busy machine may
        await remote_carrier.thaw()


async def test_a_lost_broker_is_said_once_and_its_return_once(remote_carrier, caplog):
    caplog.set_level(logging.INFO, "reachthru.bus")
    agent = agent_bus(remote_carrier.url, "compute-0")
    async with joined(agent):
        await remote_carrier.cut()
        await until(lambda: not agent.connected)
        await asyncio.sleep(1)  # several tries in vain
        await remote_carrier.heal()
        await until(lambda: agent.connected)
    said = [line for line in caplog.messages if remote_carrier.url in line]
    assert len([line for line in said if "no broker" in line]) == 1
    assert len([line for line in said if "is back" in line]) == 1
    assert len(said) == 3  # and the first connection
