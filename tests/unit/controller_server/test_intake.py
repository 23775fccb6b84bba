"""What agents send is stored, then acknowledged; never the other way round."""

import asyncio
import contextlib
import uuid

import pytest

from reachthru.bus import agent_bus, controller_bus, memory
from reachthru.controller_server import intake as intake_module
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.service import GroupService
from reachthru.controller_server.groups.static import StaticDirectory
from reachthru.controller_server.intake import Intake
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.protocol.agent_bus import FaultAck

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
                assert isinstance(message, FaultAck)
                seqs += message.seqs
                if len(seqs) >= count:
                    break
        return seqs


@pytest.fixture
async def setup(database, ledger):
    url = f"memory://{uuid.uuid4().hex}"
    stored = []
    async with controller_bus(url, "a") as bus, agent_bus(url, "compute-0") as agent:
        inventory = Inventory(database, bus, EventHub())
        census = Census()
        directory = StaticDirectory(None, census)
        groups = GroupService(bus, directory, census, Metrics(), show_hosts=False)
        intake = Intake(bus, ledger, inventory, groups, stored.extend)
        running = asyncio.create_task(intake.run())
        result = Setup(agent, ledger, stored)
        result.inventory, result.broker = inventory, memory.broker(url.removeprefix("memory://"))
        yield result
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_change_is_acknowledged_once_it_is_in_the_database(setup, make_change):
    await setup.agent.send(make_change(7))
    assert await setup.acked(1) == [7]
    (fault,) = await setup.ledger.faults(FaultFilter())
    assert fault.id == "fault-7"
    assert [item.change.seq for item in setup.stored] == [7]


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
    assert [item.change.seq for item in setup.stored] == list(range(2000))


async def test_what_an_agent_repeats_out_of_order_is_put_in_order(setup, make_change):
    for seq in (3, 1, 2):
        await setup.agent.send(make_change(seq))
    await setup.acked(3)
    assert [item.change.seq for item in setup.stored] == [1, 2, 3]


async def test_reports_and_goodbyes_reach_the_inventory(setup, make_report):
    await setup.agent.send(make_report("a"))
    async with asyncio.timeout(DEADLINE_S):
        while not await setup.inventory.instances():
            await asyncio.sleep(0.005)
        setup.broker.kill("compute-0")
        while (await setup.inventory.hosts())[0].state == "online":
            await asyncio.sleep(0.005)


async def test_acks_that_cant_be_sent_hold_up_nothing(setup, make_change, monkeypatch):
    await setup.agent.send(make_change(1))
    setup.broker.cut()
    async with asyncio.timeout(DEADLINE_S):
        while not setup.stored:
            await asyncio.sleep(0.005)
    setup.broker.heal()
    await setup.agent.send(make_change(2))
    assert 2 in await setup.acked(1)


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
    assert [item.change.seq for item in setup.stored] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


async def test_a_report_with_numbers_beyond_reason_costs_itself_only(setup, make_report):
    await setup.agent.send(make_report("a", guests=10**30))
    await setup.agent.send(make_report("b"))
    async with asyncio.timeout(DEADLINE_S):
        while not (instances := await setup.inventory.instances()):
            await asyncio.sleep(0.005)
    assert [instance.uuid for instance in instances] == ["b"]
