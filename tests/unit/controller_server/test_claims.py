"""Several controllers on one database: each delivery is one worker's at a time, in order."""

import asyncio
import random
import uuid

import pytest
from sqlalchemy import select, text

from reachthru.controller_server.store import deliveries
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.deliveries import Outcome
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.queries import FaultFilter

TTL_S = 8.0


@pytest.fixture
def clock_s(monkeypatch):
    """A list whose last item is the database's time."""
    now = [1_000_000.0]
    monkeypatch.setattr(deliveries, "now_s", lambda _connection: now[-1])
    monkeypatch.setattr("reachthru.controller_server.store.changes.now_s", lambda _c: now[-1])
    return now


@pytest.fixture
async def two(database, database_url, clock_s):
    """Two controllers' ledgers."""
    second = Database(database_url)
    await second.open()
    yield Ledger(database, ["log", "webhook"], "a"), Ledger(second, ["log", "webhook"], "b")
    await second.close()


def names(pending):
    return [(item.fault.id, item.fault.status) for item in pending]


async def claim(ledger, limit=10, sink="log"):
    return await ledger.claim(ledger.claimer(sink, TTL_S), limit)


async def settle(ledger, pending, state="done", sink="log", **values):
    outcomes = [
        Outcome(
            change_id=item.change_id, sink=sink, state=state, attempts=item.attempts + 1, **values
        )
        for item in pending
    ]
    return await ledger.settle(ledger.claimer(sink, TTL_S), outcomes)


async def test_what_one_has_claimed_no_other_gets(two, arrived):
    first, second = two
    await first.add([arrived(seq, instance_uuid=f"i{seq}") for seq in range(6)])
    mine, others = await claim(first, 4), await claim(second, 4)
    assert len(mine) == 4
    assert len(others) == 2
    assert not set(names(mine)) & set(names(others))


async def test_sinks_are_claimed_apart(two, arrived):
    first, second = two
    await first.add([arrived(1)])
    assert len(await claim(first)) == 1
    assert len(await claim(second, sink="webhook")) == 1


async def test_of_one_instance_only_the_first_is_claimed(two, arrived):
    first, second = two
    await first.add([arrived(1, fault_id="f"), arrived(2, fault_id="f", status="cleared")])
    await second.add([arrived(3, fault_id="g")])
    mine = await claim(first)
    assert names(mine) == [("f", "raised")]
    assert await claim(second) == []
    following = await settle(first, mine)
    assert names(following) == [("f", "cleared")]  # and it is claimed already
    assert await claim(second) == []
    assert names(await settle(first, following)) == [("g", "raised")]


async def test_a_lane_that_ended_is_open_to_what_comes_later(two, arrived):
    first, second = two
    await first.add([arrived(1, fault_id="f")])
    assert await settle(first, await claim(first)) == []
    await second.add([arrived(2, fault_id="f", status="cleared")])
    assert names(await claim(second)) == [("f", "cleared")]


async def test_a_dead_controllers_claims_run_out(two, arrived, clock_s):
    first, second = two
    await first.add([arrived(1)])
    held = await claim(first)
    clock_s.append(clock_s[-1] + TTL_S - 0.1)
    assert await claim(second) == []
    clock_s.append(clock_s[-1] + 0.2)
    taken = await claim(second)
    assert names(taken) == names(held)
    assert await settle(first, held, "failed") == []  # it was alive all the time: too late
    await settle(second, taken)
    assert (await states(first))["fault-1"] == ("done", 1)


async def test_claims_that_are_given_back_are_free_at_once(two, arrived):
    first, second = two
    await first.add([arrived(seq, instance_uuid=f"i{seq}") for seq in range(3)])
    mine = await claim(first)
    await first.give_back(first.claimer("log", TTL_S), [mine[0].change_id])
    assert names(await claim(second)) == names(mine[:1])
    await first.give_back(first.claimer("log", TTL_S))
    assert names(await claim(second)) == names(mine[1:])


async def test_every_controller_lets_a_failed_one_rest(two, arrived, clock_s):
    first, second = two
    await first.add([arrived(1, fault_id="f"), arrived(2, fault_id="f", status="cleared")])
    held = await claim(first)
    failure = {"rest_s": 3.0, "last_error": "503", "next_attempt_at": "2026-01-01T00:00:03+00:00"}
    await settle(first, held, "pending", **failure)
    assert await claim(second) == []
    clock_s.append(clock_s[-1] + 3.1)
    (again,) = await claim(second)
    assert (names([again]), again.attempts) == ([("f", "raised")], 1)
    await second.wake_resting("log")
    assert await claim(first) == []


async def test_a_failure_is_shown_until_it_is_over(two, arrived, clock_s):
    first, _second = two
    await first.add([arrived(1)])
    failure = {"rest_s": 3.0, "last_error": "503", "next_attempt_at": "2026-01-01T00:00:03+00:00"}
    await settle(first, await claim(first), "pending", **failure)
    (log, webhook) = (await first.faults(FaultFilter()))[0].deliveries
    assert (log.state, log.attempts, log.last_error) == ("pending", 1, "503")
    assert log.next_attempt_at == "2026-01-01T00:00:03+00:00"
    assert (webhook.last_error, webhook.next_attempt_at) == (None, None)
    await first.wake_resting("log")
    await settle(first, await claim(first))
    (log, _webhook) = (await first.faults(FaultFilter()))[0].deliveries
    assert (log.state, log.attempts, log.last_error, log.next_attempt_at) == ("done", 2, None, None)


async def test_a_clock_that_was_set_back_holds_nothing_up(two, arrived, clock_s):
    first, second = two
    await first.add([arrived(1)])
    await settle(first, await claim(first), "pending", rest_s=5.0)
    clock_s.append(clock_s[-1] - 3600)
    assert len(await claim(second)) == 1


async def test_the_same_changes_at_two_controllers_at_once_are_stored_once(two, arrived):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    changes = [arrived(seq, fault_id=f"f{seq}", instance_uuid=f"i{seq % 7}") for seq in range(40)]
    cleared = [
        arrived(40 + seq, fault_id=f"f{seq}", instance_uuid=f"i{seq % 7}", status="cleared")
        for seq in range(40)
    ]

    async def add(ledger):
        stored = []
        for batch in (changes, cleared):
            chance.shuffle(batch := list(batch))
            for start in range(0, 40, 8):
                stored += await ledger.add(batch[start : start + 8])
        return stored

    stored = await asyncio.gather(*(add(ledger) for ledger in two for _ in range(3)))
    assert sum(map(len, stored)) == 80
    backlog = await two[0].backlog()
    assert {sink: waiting.changes for sink, waiting in backlog.items()} == {
        "log": 80,
        "webhook": 80,
    }


async def test_nothing_is_claimed_twice_and_all_in_order_however_they_compete(
    two, arrived, clock_s
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    told = []
    total = 120

    async def work(ledger):
        held = []
        while len(told) < total:
            held += await claim(ledger, chance.randrange(1, 8))
            ending = [held.pop() for _ in range(min(len(held), chance.randrange(1, 5)))]
            if chance.random() < 0.2:
                await settle(ledger, ending, "pending", rest_s=0.0)
                continue
            told.extend((item.fault.instance_uuid, item.change_id) for item in ending)
            held += await settle(ledger, ending)

    async def add(ledger):
        for start in range(0, total // 2, 6):
            await ledger.add(
                [
                    arrived(
                        0,
                        fault_id=f"{id(ledger)}-{number}",
                        instance_uuid=f"{id(ledger)}-{number % 5}",
                    )
                    for number in range(start, start + 6)
                ]
            )

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(ledger) for ledger in two), *(add(ledger) for ledger in two))
    assert len(told) == len(set(told)) == total
    for lane in {instance for instance, _id in told}:
        ids = [change_id for instance, change_id in told if instance == lane]
        assert ids == sorted(ids)


async def test_a_claim_looks_at_few_rows_however_many_wait(database, arrived, clock_s):
    """One instance with 3000 changes, most of them behind the first: no claim walks them all."""
    ledger = Ledger(database, ["log"], "a")
    for start in range(0, 3000, 500):
        await ledger.add([arrived(seq) for seq in range(start, start + 500)])
    await ledger.add([arrived(3000, instance_uuid="another")])
    looked_at = []
    lock_due = deliveries._lock_due

    def counted(*arguments):
        found = lock_due(*arguments)
        looked_at.append(len(found))
        return found

    deliveries._lock_due = counted
    try:
        held = await claim(ledger)
        for _ in range(20):
            held += await claim(ledger)
    finally:
        deliveries._lock_due = lock_due
    assert {item.fault.instance_uuid for item in held} == {"uuid-1", "another"}
    assert sum(looked_at) < 50


async def test_a_claim_reads_an_index(database):
    statement = str(
        select(deliveries.deliveries.c.change_id)
        .where(deliveries.deliveries.c.sink == "log", deliveries.is_pending)
        .where(deliveries.deliveries.c.due_at <= 5.0)
        .order_by(deliveries.deliveries.c.due_at)
        .limit(10)
        .compile(compile_kwargs={"literal_binds": True})
    )

    def plan(connection):
        if connection.dialect.name == "sqlite":
            return connection.execute(text(f"EXPLAIN QUERY PLAN {statement}")).all()
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # the table is empty
        return connection.execute(text(f"EXPLAIN {statement}")).all()

    steps = " ".join(str(row) for row in await database.read(plan))
    assert "deliveries_due" in steps
    assert "Sort" not in steps
    assert "TEMP B-TREE" not in steps


async def test_the_first_of_a_lane_is_found_by_the_index_of_lanes(ledger_of_a_burst):
    """Whatever the database believes of a table whose rows it has not counted yet."""
    asked = deliveries._LOCK_DUE.params(of_sink="log", moment=1e12, room=10)

    def plan(connection):
        words = asked.compile(connection, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        return connection.exec_driver_sql(f"{explain} {words}".replace("%", "%%")).all()

    steps = " ".join(str(row) for row in await ledger_of_a_burst._database.read(plan))
    assert steps.count("deliveries_due") == 1  # what is due; the rest is about its lane
    assert "deliveries_lane" in steps


@pytest.fixture
async def ledger_of_a_burst(database, arrived):
    ledger = Ledger(database, ["log", "webhook", "mqtt"], "a")
    await ledger.add([arrived(seq, instance_uuid=str(uuid.uuid4())) for seq in range(10_000)])
    return ledger


async def test_the_backlog_has_a_number_and_an_age(two, arrived, clock_s):
    first, _second = two
    await first.add([arrived(1)])
    clock_s.append(clock_s[-1] + 30)
    await first.add([arrived(2, instance_uuid="i2")])
    backlog = await first.backlog()
    assert (backlog["log"].changes, backlog["log"].oldest_s) == (2, 30.0)
    await settle(first, await claim(first))
    assert "log" not in await first.backlog()


async def states(ledger):
    return {
        fault.id: (fault.deliveries[0].state, fault.deliveries[0].attempts)
        for fault in await ledger.faults(FaultFilter())
    }


async def both_settle(ledger, told):
    """`told`: by sink, outcomes' fields. What the log and the webhook get at the same moment."""
    return await asyncio.gather(
        *(
            ledger.settle(ledger.claimer(sink, TTL_S), [Outcome(sink=sink, **fields)])
            for sink, fields in told.items()
        ),
        return_exceptions=True,
    )


async def test_what_sinks_have_said_at_one_moment_is_one_write(two, arrived, monkeypatch):
    ledger, _ = two
    await ledger.add([arrived(1)])
    (item,) = await claim(ledger)
    await claim(ledger, sink="webhook")
    writes = []
    real = ledger._database.write
    monkeypatch.setattr(
        ledger._database, "write", lambda *a, **k: writes.append(a) or real(*a, **k)
    )
    done = {"change_id": item.change_id, "state": "done", "attempts": 1}
    assert await both_settle(ledger, {"log": done, "webhook": done}) == [[], []]
    assert len(writes) == 1
    (fault,) = await ledger.faults(FaultFilter())
    assert {(told.sink, told.state) for told in fault.deliveries} == {
        ("log", "done"),
        ("webhook", "done"),
    }


async def test_only_the_sink_that_has_ended_a_change_goes_on_in_its_lane(two, arrived):
    ledger, _ = two
    await ledger.add([arrived(1, fault_id="f"), arrived(2, fault_id="f", status="cleared")])
    (item,) = await claim(ledger)
    await claim(ledger, sink="webhook")
    told = {"change_id": item.change_id, "attempts": 1}
    failed = told | {"state": "pending", "rest_s": 60.0}
    following = await both_settle(ledger, {"log": told | {"state": "done"}, "webhook": failed})
    assert [names(found) for found in following] == [[("f", "cleared")], []]


async def test_an_outcome_that_no_database_takes_holds_up_no_other_sinks(two, arrived):
    ledger, _ = two
    await ledger.add([arrived(1, fault_id="f"), arrived(2, fault_id="f", status="cleared")])
    (item,) = await claim(ledger)
    await claim(ledger, sink="webhook")
    done = {"change_id": item.change_id, "state": "done", "attempts": 1}
    following = await both_settle(ledger, {"log": done | {"attempts": 2**70}, "webhook": done})
    assert isinstance(following[0], DatabaseError)
    assert names(following[1]) == [("f", "cleared")]
