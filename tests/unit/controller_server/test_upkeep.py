"""The leader forgets old history and repeats what is active."""

import asyncio
import contextlib
import logging
from typing import ClassVar

import pytest
from sqlalchemy import text

from reachthru.controller_server import upkeep as upkeep_module
from reachthru.controller_server.delivery import DeliveryWorker
from reachthru.controller_server.sinks.base import Sink
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.controller_server.upkeep import Upkeep

DEADLINE_S = 20
DAY_S = 86_400


class Consumer(Sink):
    name: ClassVar[str] = "log"
    concurrency = 4
    reconcile_s = 100.0

    @classmethod
    def configured(cls, path, conf):
        raise NotImplementedError  # no settings file is read here

    def __init__(self):
        self.took = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def deliver(self, fault):
        await self.hold.wait()
        self.took.append((fault.id, fault.status))


@pytest.fixture
def ledger(database):
    return Ledger(database, ["log"], "controller-1")


@pytest.fixture
def sink():
    return Consumer()


@pytest.fixture
async def telling(ledger, sink):
    """A worker that tells the sink."""
    worker = DeliveryWorker(sink, ledger, lambda _outcome: None)
    running = asyncio.create_task(worker.run())
    yield worker
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
def make_upkeep(database, ledger, sink):
    """make_upkeep(**settings); its `leads` and `forgotten` are for tests to set and read."""

    def make(worker=None, **settings):
        leads, forgotten = [True], []
        defaults = {"keep_cleared_days": 30.0, "max_cleared_faults": 1000}
        made = Upkeep(
            database,
            ledger,
            [sink],
            leads=lambda: leads[0],
            on_forgotten=lambda reason, faults: forgotten.append((reason, faults)),
            on_repeats=worker.wake if worker else lambda: None,
            **(defaults | settings),
        )
        made.leads, made.forgotten, made.began = leads, forgotten, made._retention_at
        return made

    return make


async def add(ledger, worker, sink, *changes):
    """Stored, and told."""
    before = len(sink.took)
    await ledger.add(changes)
    worker.wake()
    await until(lambda: len(sink.took) == before + len(changes))
    await settled(ledger)


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)


async def settled(ledger):
    async with asyncio.timeout(DEADLINE_S):
        while await ledger.backlog():
            await asyncio.sleep(0.005)


async def ids(ledger):
    return sorted(fault.id for fault in await ledger.faults(FaultFilter(limit=1000)))


async def test_what_is_active_is_repeated_each_interval_and_what_is_not_never(
    ledger, telling, sink, make_upkeep, arrived
):
    upkeep = make_upkeep(telling)
    await add(
        ledger,
        telling,
        sink,
        arrived(1, fault_id="a", instance_uuid="i1"),
        arrived(2, fault_id="b", instance_uuid="i2"),
        arrived(3, fault_id="b", instance_uuid="i2", status="cleared"),
    )
    (told,) = await ledger.faults(FaultFilter(active=True))
    sink.took.clear()
    await upkeep.turn(upkeep.began + 99)
    await settled(ledger)
    assert sink.took == []
    for number in (1, 2):
        await upkeep.turn(upkeep.began + 101 * number)
        await until(lambda number=number: len(sink.took) == number)
        await settled(ledger)
    assert sink.took == [("a", "raised")] * 2
    (fault,) = await ledger.faults(FaultFilter(active=True))
    assert fault.stages_ms["sink:log"] == told.stages_ms["sink:log"]  # of the first time
    upkeep.leads[0] = False
    await upkeep.turn(upkeep.began + 1000)
    await settled(ledger)
    assert len(sink.took) == 2


async def test_a_repeat_waits_behind_nothing_and_nothing_raised_comes_after_its_clearing(
    ledger, telling, sink, make_upkeep, arrived
):
    upkeep = make_upkeep(telling)
    await add(ledger, telling, sink, arrived(1, fault_id="a"))
    sink.hold.clear()
    await upkeep.turn(upkeep.began + 101)
    await ledger.add([arrived(2, fault_id="a", status="cleared")])
    telling.wake()
    await asyncio.sleep(0.05)
    sink.hold.set()
    await until(lambda: len(sink.took) == 3)
    assert sink.took == [("a", "raised"), ("a", "raised"), ("a", "cleared")]
    await settled(ledger)
    await upkeep.turn(upkeep.began + 300)
    await settled(ledger)
    assert len(sink.took) == 3


async def test_an_instance_with_something_waiting_is_not_told_old_news_meanwhile(
    ledger, telling, sink, make_upkeep, arrived
):
    upkeep = make_upkeep(telling)
    await add(ledger, telling, sink, arrived(1, fault_id="old"))
    sink.hold.clear()
    await ledger.add([arrived(2, fault_id="new")])
    await upkeep.turn(upkeep.began + 101)
    sink.hold.set()
    await until(lambda: len(sink.took) == 2)
    await settled(ledger)
    assert sink.took == [("old", "raised"), ("new", "raised")]


async def test_many_are_repeated_a_few_at_a_time(
    ledger, telling, sink, make_upkeep, arrived, monkeypatch
):
    monkeypatch.setattr(upkeep_module, "REPEAT_LIMIT", 4)
    upkeep = make_upkeep(telling)
    changes = [arrived(seq, fault_id=f"{seq:02}", instance_uuid=f"i{seq}") for seq in range(10)]
    await add(ledger, telling, sink, *changes)
    sink.took.clear()
    counts = []
    for second in range(4):
        await upkeep.turn(upkeep.began + 101 + second)
        await settled(ledger)
        counts.append(len(sink.took))
    assert counts == [4, 8, 10, 10]
    assert sorted(id for id, _status in sink.took) == [f"{seq:02}" for seq in range(10)]


async def test_an_interval_of_another_leader_is_not_ours(
    ledger, telling, sink, make_upkeep, arrived
):
    upkeep = make_upkeep(telling)
    await add(ledger, telling, sink, arrived(1))
    upkeep.leads[0] = False
    await upkeep.turn(upkeep.began + 150)
    upkeep.leads[0] = True
    await upkeep.turn(upkeep.began + 200)  # it has led for no whole interval
    await settled(ledger)
    assert len(sink.took) == 1


async def cleared_faults(ledger, telling, sink, arrived, names):
    for name in names:
        await add(
            ledger,
            telling,
            sink,
            arrived(1, fault_id=name),
            arrived(2, fault_id=name, status="cleared"),
        )


async def age(database, days, fault_id):
    await database.write(
        lambda c: c.execute(
            text("UPDATE fault_changes SET stored_at = stored_at - :s WHERE fault_id = :id"),
            {"s": days * DAY_S, "id": fault_id},
        )
    )


async def test_old_cleared_faults_are_forgotten_and_nothing_else(
    database, ledger, telling, sink, make_upkeep, arrived, caplog
):
    caplog.set_level(logging.INFO)
    await cleared_faults(ledger, telling, sink, arrived, ["a", "b", "c"])
    await add(ledger, telling, sink, arrived(3, fault_id="active"))
    for name in ("a", "b", "active"):
        await age(database, 31, name)
    upkeep = make_upkeep()
    upkeep.leads[0] = False
    await upkeep.turn(upkeep.began + 1)
    assert await ids(ledger) == ["a", "active", "b", "c"]
    upkeep.leads[0] = True
    await upkeep.turn(upkeep.began + 1)
    assert await ids(ledger) == ["active", "c"]
    assert upkeep.forgotten == [("age", 2)]
    assert any("2 cleared faults are forgotten" in line for line in caplog.messages)


async def test_above_the_cap_the_oldest_go_first_in_small_batches(
    ledger, telling, sink, make_upkeep, arrived, monkeypatch, caplog
):
    monkeypatch.setattr(upkeep_module, "FORGET_LIMIT", 2)
    names = [f"f{number}" for number in range(8)]
    await cleared_faults(ledger, telling, sink, arrived, names)
    upkeep = make_upkeep(max_cleared_faults=3)
    await upkeep.turn(upkeep.began + 1)
    assert await ids(ledger) == names[5:]
    assert upkeep.forgotten == [("excess", 2), ("excess", 2), ("excess", 1)]
    assert any("max_cleared_faults = 3" in line for line in caplog.messages)


async def test_what_a_sink_was_not_told_of_is_kept_and_said_once(
    database, ledger, telling, sink, make_upkeep, arrived, caplog
):
    await cleared_faults(ledger, telling, sink, arrived, ["told"])
    sink.hold.clear()
    await ledger.add([arrived(1, fault_id="f"), arrived(2, fault_id="f", status="cleared")])
    await age(database, 100, "f")
    upkeep = make_upkeep(max_cleared_faults=0)
    for minute in range(3):
        await upkeep.turn(upkeep.began + 61 * minute)
    assert await ids(ledger) == ["f"]
    assert len([line for line in caplog.messages if "not told of them yet" in line]) == 1


class Late(Consumer):
    name: ClassVar[str] = "late"
    reconcile_s = None


async def test_a_sink_that_is_enabled_late_hears_of_what_is_active_and_of_its_end(
    database, ledger, arrived
):
    late = Late()
    with_late = Ledger(database, ["log", "late"], "controller-2")
    worker = DeliveryWorker(late, with_late, lambda _outcome: None)
    running = asyncio.create_task(worker.run())
    leads = [True]
    upkeep = Upkeep(
        database,
        with_late,
        [late],
        keep_cleared_days=30.0,
        max_cleared_faults=1000,
        leads=lambda: leads[0],
        on_forgotten=lambda _reason, _faults: None,
        on_repeats=worker.wake,
    )
    try:
        await ledger.add([arrived(1, fault_id="a"), arrived(2, fault_id="b")])
        await ledger.add([arrived(3, fault_id="b", status="cleared")])
        began = upkeep._retention_at
        await upkeep.turn(began)
        await until(lambda: late.took == [("a", "raised")])  # b is no news
        # One that doesn't have the sink yet goes on beside us, or it was disabled for a while.
        await ledger.add([arrived(4, fault_id="a", status="cleared"), arrived(5, fault_id="c")])
        await upkeep.turn(began + upkeep_module.CATCH_UP_S)
        await until(lambda: len(late.took) == 3)
        assert late.took[1:] == [("a", "cleared"), ("c", "raised")]
        leads[0] = False
        await upkeep.turn(began + 1000)
        leads[0] = True
        await upkeep.turn(began + 1001)
        await settled_for(with_late, "late")
        assert len(late.took) == 3  # each once
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def settled_for(ledger, sink):
    async with asyncio.timeout(DEADLINE_S):
        while sink in await ledger.backlog():
            await asyncio.sleep(0.005)
