"""A sink is told everything, in order for each instance, whatever else fails."""

import asyncio
import contextlib
import random
from typing import ClassVar

import pytest

from reachthru.controller_server import delivery, sink_health
from reachthru.controller_server.delivery import DeliveryWorker
from reachthru.controller_server.sinks.base import HeldError, RefusedError, Sink
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.queries import FaultFilter

DEADLINE_S = 20


class Consumer(Sink):
    """Says no, or hangs, as a test wants; keeps what it took."""

    name: ClassVar[str] = "log"
    timeout_s = 0.2
    concurrency = 8

    @classmethod
    def configured(cls, path, conf):
        raise NotImplementedError  # tests make it themselves

    def __init__(self):
        self.took = []
        self.stages_ms = []
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.behave = self._take

    async def _take(self, fault):
        """Takes it."""

    async def deliver(self, fault):
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.behave(fault)
        finally:
            self.at_once -= 1
        self.took.append((fault.instance_uuid, fault.id, fault.status))
        self.stages_ms.append(fault.stages_ms)


@pytest.fixture(autouse=True)
def short_rests(monkeypatch):
    monkeypatch.setattr(sink_health, "BACKOFF_MIN_S", 0.02)
    monkeypatch.setattr(sink_health, "BACKOFF_MAX_S", 0.1)
    monkeypatch.setattr(sink_health, "PROBE_REST_MIN_S", 0.02)
    monkeypatch.setattr(sink_health, "PROBE_REST_MAX_S", 0.1)


@pytest.fixture
async def ledger(database):
    return Ledger(database, ["log"], "controller-1")


@contextlib.asynccontextmanager
async def telling(ledger, sink):
    outcomes = []
    worker = DeliveryWorker(sink, ledger, outcomes.append)
    worker.outcomes = outcomes
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)


async def states(ledger):
    return {
        (fault.id, fault.status): (fault.deliveries[0].state, fault.deliveries[0].attempts)
        for fault in await ledger.faults(FaultFilter())
    }


async def until_states(ledger, wanted):
    """Outcomes are written down a moment after the sink said yes."""
    async with asyncio.timeout(DEADLINE_S):
        while await states(ledger) != wanted:
            await asyncio.sleep(0.005)


def down_up_down(arrived, instance):
    return [
        arrived(1, fault_id=f"{instance}-a", instance_uuid=instance),
        arrived(2, fault_id=f"{instance}-a", instance_uuid=instance, status="cleared"),
        arrived(3, fault_id=f"{instance}-b", instance_uuid=instance),
    ]


async def test_what_was_pending_at_the_start_is_told(ledger, arrived):
    await ledger.add(down_up_down(arrived, "i"))
    sink = Consumer()
    async with telling(ledger, sink):
        await until(lambda: len(sink.took) == 3)
        await until_states(
            ledger, {("i-a", "cleared"): ("done", 1), ("i-b", "raised"): ("done", 1)}
        )
    assert [(id, status) for _instance, id, status in sink.took] == [
        ("i-a", "raised"),
        ("i-a", "cleared"),
        ("i-b", "raised"),
    ]


async def test_what_is_stored_later_is_told_at_once(ledger, arrived):
    sink = Consumer()
    async with telling(ledger, sink):
        for seq in range(20):
            await ledger.add([arrived(seq)])
            await until(lambda seq=seq: len(sink.took) == seq + 1)
    assert all("stored" in stages_ms for stages_ms in sink.stages_ms)


async def test_something_older_that_is_due_keeps_nothing_new_waiting(ledger, arrived, monkeypatch):
    monkeypatch.setattr(delivery, "POLL_S", 60.0)
    other = Ledger(ledger._database, ["log"], "controller-2")  # it has no worker
    sink = Consumer()
    async with telling(ledger, sink):
        await asyncio.sleep(0.1)
        await other.add([arrived(1, instance_uuid="i1")])
        await ledger.add([arrived(2, instance_uuid="i2")])
        await until(lambda: [uuid for uuid, *_ in sink.took] == ["i2"])


async def test_what_is_new_needs_no_claim_while_a_look_at_the_database_is_due(ledger, monkeypatch):
    monkeypatch.setattr(delivery, "POLL_S", 0.0)  # it is always due
    async with telling(ledger, Consumer()) as worker:
        await until(lambda: worker.room_for_new() > 0)


async def test_what_waits_behind_a_change_that_was_just_told_hurries_it(
    ledger, arrived, monkeypatch
):
    monkeypatch.setattr(delivery, "GATHER_S", 1e6)
    sink = Consumer()
    raised, *later = down_up_down(arrived, "i")
    async with telling(ledger, sink) as worker:
        await until(lambda: worker.room_for_new() > 0)
        await ledger.add([raised])
        await until(lambda: len(sink.took) == 1)
        await ledger.add(later)
        await until(lambda: len(sink.took) >= 2)
    assert [status for *_, status in sink.took][:2] == ["raised", "cleared"]


async def test_order_is_kept_for_each_instance_by_a_sink_that_fails_at_random(ledger, arrived):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sink = Consumer()

    async def moody(_fault):
        await asyncio.sleep(chance.random() * 0.003)
        if chance.random() < 0.3:
            raise ConnectionError("moody")

    sink.behave = moody
    instances = [f"i{number}" for number in range(10)]
    for instance in instances:
        await ledger.add(down_up_down(arrived, instance))
    async with telling(ledger, sink):
        await until(lambda: len(sink.took) == 30)
    for instance in instances:
        told = [(id, status) for uuid, id, status in sink.took if uuid == instance]
        assert told == [
            (f"{instance}-a", "raised"),
            (f"{instance}-a", "cleared"),
            (f"{instance}-b", "raised"),
        ]


async def test_one_instances_failure_blocks_no_other(ledger, arrived):
    sink = Consumer()

    async def fail_one(fault):
        if fault.instance_uuid == "bad":
            raise ConnectionError("not this one")

    sink.behave = fail_one
    await ledger.add(down_up_down(arrived, "bad") + down_up_down(arrived, "good"))
    async with telling(ledger, sink):
        await until(lambda: len(sink.took) == 3)
        await until(lambda: sink.asked > 6)  # it goes on trying
    assert {instance for instance, _id, _status in sink.took} == {"good"}


async def test_a_hanging_delivery_is_given_up_in_time_and_blocks_no_other(ledger, arrived):
    sink = Consumer()

    async def hang_one(fault):
        if fault.instance_uuid == "bad":
            await asyncio.sleep(60)

    sink.behave = hang_one
    await ledger.add(down_up_down(arrived, "bad") + down_up_down(arrived, "good"))
    async with telling(ledger, sink) as worker:
        await until(lambda: len(sink.took) == 3)
        await until(lambda: any(outcome.last_error for outcome in worker.outcomes))
    errors = {outcome.last_error for outcome in worker.outcomes} - {None}
    assert errors == {"no answer within 0.2 s"}


async def test_a_change_that_is_refused_for_good_lets_the_next_pass(ledger, arrived, caplog):
    sink = Consumer()

    async def refuse_the_clearing(fault):
        if fault.status == "cleared":
            raise RefusedError("consumer answered 422")

    sink.behave = refuse_the_clearing
    await ledger.add(down_up_down(arrived, "i"))
    async with telling(ledger, sink):
        await until(lambda: len(sink.took) == 2)
        await until_states(
            ledger, {("i-a", "cleared"): ("failed", 1), ("i-b", "raised"): ("done", 1)}
        )
    assert any("422" in line and "given up" in line for line in caplog.messages)


async def test_a_retry_counts_its_attempts(ledger, arrived):
    sink = Consumer()

    async def third_time_lucky(_fault):
        if sink.asked < 3:
            raise ConnectionError("not yet")

    sink.behave = third_time_lucky
    await ledger.add([arrived(1)])
    async with telling(ledger, sink) as worker:
        await until(lambda: sink.took)
        await until_states(ledger, {("fault-1", "raised"): ("done", 3)})
    assert [outcome.state for outcome in worker.outcomes] == ["pending", "pending", "done"]
    assert worker.outcomes[0].last_error == "not yet"
    assert worker.outcomes[0].next_attempt_at is not None


async def test_a_sink_that_is_down_is_probed_and_not_hammered(ledger, arrived):
    sink = Consumer()
    up = asyncio.Event()

    async def down(_fault):
        await asyncio.sleep(0.005)
        if not up.is_set():
            raise ConnectionError("down")

    sink.behave = down
    await ledger.add([arrived(seq, instance_uuid=f"i{seq}") for seq in range(200)])
    async with telling(ledger, sink):
        await until(lambda: sink.asked >= 20)
        sink.most_at_once = 0
        await until(lambda: sink.asked >= 40)
        assert sink.most_at_once == 1
        up.set()
        await until(lambda: len(sink.took) == 200)
        assert sink.most_at_once > 1


async def test_what_a_sink_holds_back_keeps_nobody_waiting_and_is_asked_again(ledger, arrived):
    sink = Consumer()
    held = 20

    async def hold(fault):
        is_new = sink.asked <= 30
        await asyncio.sleep(0.005)
        if int(fault.id.split("-")[1]) < held and is_new:
            raise HeldError("limit", 0.2)

    sink.behave = hold
    async with telling(ledger, sink) as worker:
        await ledger.add([arrived(seq, instance_uuid=f"i{seq}") for seq in range(30)])
        await until(lambda: len(sink.took) >= 10)
        # A sink that failed for so many instances would be told one thing at a time.
        assert sink.most_at_once > 1
        rests = [outcome for outcome in worker.outcomes if outcome.state == "pending"]
        assert {(outcome.last_error, outcome.rest_s) for outcome in rests} == {("limit", 0.2)}
        await until(lambda: len(sink.took) == 30)


async def test_a_restart_goes_on_where_the_last_one_stopped(ledger, arrived):
    await ledger.add([arrived(seq, instance_uuid=f"i{seq}") for seq in range(10)])
    sink = Consumer()

    async def half(fault):
        if int(fault.id.split("-")[1]) >= 5:
            await asyncio.sleep(60)

    sink.behave = half
    async with telling(ledger, sink):
        await until(lambda: len(sink.took) == 5)
    again = Consumer()
    async with telling(ledger, again):
        await until(lambda: len(again.took) == 5)
    assert {id for _i, id, _s in again.took} == {f"fault-{number}" for number in range(5, 10)}


async def test_a_stop_lets_what_is_on_its_way_end(ledger, arrived):
    await ledger.add([arrived(1, fault_id="a")])
    sink = Consumer()
    sink.behave = lambda _fault: asyncio.sleep(0.1)
    async with telling(ledger, sink):
        await until(lambda: sink.at_once == 1)
    assert sink.took == [("uuid-1", "a", "raised")]
    assert await states(ledger) == {("a", "raised"): ("done", 1)}
