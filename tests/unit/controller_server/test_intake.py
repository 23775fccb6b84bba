"""What agents send is stored, then acknowledged; never the other way round."""

import asyncio
import uuid

import msgspec
import pytest

from reachthru.bus import BusUnavailableError, agent_bus, controller_bus, memory
from reachthru.controller_server import fault_intake as intake_module
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.protocol.agent_bus import FaultAck, FaultBatch, encode

DEADLINE_S = 20


class Setup:
    def __init__(self, agent, ledger, stored):
        self.agent = agent
        self.ledger = ledger
        self.stored = stored

    async def acked(self, count):
        seqs = []
        async with asyncio.timeout(DEADLINE_S):
            async for message in self.agent.messages():
                if isinstance(message, FaultAck):
                    seqs += message.seqs
                if len(seqs) >= count:
                    break
        return seqs


@pytest.fixture
async def setup(ledger, make_node):
    url = f"memory://{uuid.uuid4().hex}"
    stored = []
    async with controller_bus(url, "a") as bus, agent_bus(url, "compute-0") as agent:
        node = make_node(bus)
        await node.open()
        node.feed.listeners.append(lambda heard: stored.extend(heard.changes))
        running = [
            asyncio.create_task(node.take_work()),
            asyncio.create_task(node.leadership.run()),
        ]
        result = Setup(agent, ledger, stored)
        result.node, result.bus = node, bus
        result.broker = memory.broker(url.removeprefix("memory://"))
        yield result
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await node.close()


async def test_a_change_is_acknowledged_once_it_is_in_the_database(setup, make_change):
    await setup.agent.send(make_change(7))
    assert await setup.acked(1) == [7]
    (fault,) = await setup.ledger.faults(FaultFilter())
    assert fault.id == "fault-7"
    assert [change.seq for change in setup.stored] == [7]


async def test_a_repeated_change_is_acknowledged_again_and_told_once(setup, make_change):
    change = make_change(7)
    await setup.agent.send(change)
    assert await setup.acked(1) == [7]
    await setup.agent.send(change)
    assert await setup.acked(1) == [7]
    assert len(setup.stored) == 1


async def test_nothing_is_acknowledged_that_could_not_be_stored(setup, make_change, monkeypatch):
    monkeypatch.setattr(intake_module, "DATABASE_RETRY_S", 0.05)
    add, failures = setup.ledger.add, []

    async def fail_twice(batch):
        if len(failures) < 2:
            failures.append(batch)
            raise DatabaseError("disk full")
        return await add(batch)

    monkeypatch.setattr(setup.ledger, "add", fail_twice)
    await setup.agent.send(make_change(7))
    assert await setup.acked(1) == [7]
    assert len(failures) == 2
    assert len(await setup.ledger.faults(FaultFilter())) == 1


async def test_a_burst_is_stored_in_few_batches(setup, make_change, monkeypatch):
    add, batches = setup.ledger.add, []

    async def count(batch):
        batches.append(len(batch))
        return await add(batch)

    monkeypatch.setattr(setup.ledger, "add", count)
    for seq in range(2000):
        await setup.agent.send(make_change(seq))
    assert sorted(await setup.acked(2000)) == list(range(2000))
    assert len(batches) < 20
    assert [change.seq for change in setup.stored] == list(range(2000))


async def test_what_an_agent_repeats_out_of_order_is_put_in_order(setup, make_change):
    for seq in (3, 1, 2):
        await setup.agent.send(make_change(seq))
    await setup.acked(3)
    assert [change.seq for change in setup.stored] == [1, 2, 3]


def batch_of(*changes, host="compute-0"):
    raws = [msgspec.Raw(c if isinstance(c, bytes) else encode(c)) for c in changes]
    return FaultBatch(host=host, changes=raws)


async def test_a_batch_is_stored_in_its_order_and_acknowledged_together(setup, make_change):
    down_up_down = [
        make_change(1, fault_id="a"),
        make_change(2, fault_id="a", status="cleared"),
        make_change(3, fault_id="b"),
    ]
    await setup.agent.send(batch_of(*down_up_down))
    assert await setup.acked(1) == [1, 2, 3]
    told = [(change.fault_id, change.status) for change in setup.stored]
    assert told == [("a", "raised"), ("a", "cleared"), ("b", "raised")]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"type":"fault","v":2,"fault_id":5}', "garbled"),
        (b'{"type":"offline","v":2,"host":"compute-0","clean":true}', "garbled"),
        (b'"not even an object"', "garbled"),
        (b'{"type":"invented_later","v":2}', "unknown_type"),
        (b'{"type":"fault","v":9}', "too_new"),
    ],
)
async def test_one_bad_change_in_a_batch_costs_itself_only(setup, make_change, caplog, bad, reason):
    await setup.agent.send(batch_of(make_change(1), bad, make_change(2)))
    assert await setup.acked(2) == [1, 2]
    assert setup.bus.refused[reason] == 1
    (said,) = [line for line in caplog.messages if "a fault is refused" in line]
    assert f"host compute-0: a fault is refused ({reason})" in said


async def test_a_batch_speaks_for_its_own_host_only(setup, make_change):
    await setup.agent.send(batch_of(make_change(1), make_change(2, host="compute-1")))
    assert await setup.acked(1) == [1]
    assert setup.bus.refused["garbled"] == 1
    await setup.agent.send(batch_of(make_change(3, host="compute-1"), host="compute-1"))
    await setup.agent.send(make_change(4))
    assert await setup.acked(1) == [4]
    assert setup.bus.refused["wrong_host"] == 1


async def test_a_full_report_is_answered_with_what_the_controller_takes(setup, make_report):
    await setup.agent.send(make_report("a"))
    async with asyncio.timeout(DEADLINE_S):
        async for message in setup.agent.messages():
            if isinstance(message, FaultAck):
                assert (message.seqs, message.batch_limit) == ([], 100)
                return


async def test_what_was_committed_and_not_acknowledged_is_told_once(
    setup, make_change, monkeypatch
):
    """As when a controller is killed in between: the agent sends it all again."""
    sends = []

    async def die(host, message):
        sends.append(message)
        raise BusUnavailableError("killed")

    monkeypatch.setattr(setup.bus, "send", die)
    batch = batch_of(make_change(1, instance_uuid="a"), make_change(2, instance_uuid="b"))
    await setup.agent.send(batch)
    async with asyncio.timeout(DEADLINE_S):
        while not sends:
            await asyncio.sleep(0.005)
    monkeypatch.undo()
    await setup.agent.send(batch)
    assert await setup.acked(2) == [1, 2]
    claimer = setup.ledger.claimer("log", 8.0)
    assert [due.fault.id for due in await setup.ledger.claim(claimer, 10)] == ["fault-1", "fault-2"]


async def test_reports_and_wills_reach_the_inventory(setup, make_report, wait_until):
    await setup.agent.send(make_report("a"))
    await wait_until(lambda: setup.node.inventory.instance("a"))
    setup.broker.kill("compute-0")
    await wait_until(lambda: setup.node.inventory.hosts()[0].state == "offline")


async def test_acks_that_cant_be_sent_hold_up_nothing(setup, make_change, monkeypatch):
    await setup.agent.send(make_change(1))
    setup.broker.cut()
    async with asyncio.timeout(DEADLINE_S):
        while not setup.stored:
            await asyncio.sleep(0.005)
    setup.broker.heal()
    await setup.agent.send(make_change(2))
    while 2 not in await setup.acked(1):  # the first one may have waited for the heal
        pass


async def test_a_change_that_no_database_takes_holds_up_no_other(setup, make_change, monkeypatch):
    add = setup.ledger.add

    async def refuse_one(batch):
        if any(item.change.fault_id == "poison" for item in batch):
            raise DatabaseError("out of range", of_data=True)
        return await add(batch)

    monkeypatch.setattr(setup.ledger, "add", refuse_one)
    for seq in range(10):
        await setup.agent.send(make_change(seq, fault_id="poison" if seq == 4 else f"fault-{seq}"))
    assert sorted(await setup.acked(10)) == list(range(10))  # nor does the agent repeat it
    assert [change.seq for change in setup.stored] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


async def test_a_report_with_numbers_beyond_reason_costs_itself_only(
    setup, make_report, wait_until, caplog
):
    for _ in range(3):
        await setup.agent.send(make_report("a", guests=10**30))
    await setup.agent.send(make_report("b"))
    await wait_until(setup.node.inventory.instances)
    assert [instance.uuid for instance in setup.node.inventory.instances()] == ["b"]
    assert setup.bus.refused["garbled"] == 3
    assert len([line for line in caplog.messages if "beyond reason" in line]) == 1


async def test_a_replayed_report_is_refused_counted_and_logged_once(
    setup, make_report, wait_until, caplog
):
    old, new = make_report("a", epoch="e", seq=1), make_report("b", epoch="e", seq=2)
    for report in (old, new, old, old):
        await setup.agent.send(report)
    await wait_until(lambda: setup.bus.refused["replayed"] == 2)
    assert [instance.uuid for instance in setup.node.inventory.instances()] == ["b"]
    assert len([line for line in caplog.messages if "replayed" in line]) == 1


async def test_a_fault_of_another_hosts_instance_is_refused_counted_and_logged_once(
    setup, make_change, make_report, monkeypatch, caplog
):
    monkeypatch.setattr(intake_module, "DOUBT_S", 0.05)
    url = f"memory://{next(name for name, made in memory._brokers.items() if made is setup.broker)}"
    async with agent_bus(url, "compute-1") as other:
        await other.send(make_report("uuid-1", host="compute-1"))
        for seq in range(1, 4):
            await setup.agent.send(make_change(seq))
        assert sorted(await setup.acked(3)) == [1, 2, 3]  # or it would be repeated forever
        assert not setup.stored
        assert setup.bus.refused["foreign_instance"] == 3
        assert len([line for line in caplog.messages if "not an instance of" in line]) == 1


async def test_a_fault_that_comes_before_its_hosts_report_waits_for_it(
    setup, make_change, make_report, wait_until
):
    """The instance moves here, and its old host has it still."""
    setup.node.inventory.take_report(make_report("uuid-1", host="compute-1"))
    await setup.agent.send(make_change(1))
    await asyncio.sleep(0.05)
    assert not setup.stored
    await setup.agent.send(make_report("uuid-1"))
    assert await setup.acked(1) == [1]
    assert len(setup.stored) == 1


async def test_an_old_fault_of_an_instance_that_has_moved_away_is_taken(
    setup, make_change, make_report
):
    """Its agent was cut off, and brings now what it has."""
    await setup.agent.send(make_report("uuid-1"))
    await setup.agent.send(make_report())
    setup.node.inventory.take_report(make_report("uuid-1", host="compute-1"))
    await setup.agent.send(make_change(1))
    assert await setup.acked(1) == [1]
    assert len(setup.stored) == 1


async def test_an_agent_can_not_call_a_host_lost(setup, make_change, monkeypatch):
    monkeypatch.setattr(intake_module, "DOUBT_S", 0.05)
    await setup.agent.send(make_change(1, kind="host_lost", instance_uuid=""))
    assert await setup.acked(1) == [1]
    assert not setup.stored
