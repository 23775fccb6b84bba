"""What one controller stores, every controller hears of, once."""

import asyncio
import uuid

import pytest

from reachthru.bus import controller_bus
from reachthru.controller_server.cluster import feed as feed_module
from reachthru.controller_server.cluster.feed import FaultFeed
from reachthru.protocol.controller_bus import ControllerNews


class Listener:
    def __init__(self, database, bus):
        self.feed = FaultFeed(database, bus)
        self.heard = []
        self.feed.listeners.append(
            lambda heard: self.heard.extend(
                (change.fault_id, change.status.value, heard.ours) for change in heard.changes
            )
        )
        self.released = []
        self.feed.listeners.append(lambda heard: self.released.extend(heard.released))

    async def read(self, bus):
        async for _name, message in bus.messages():
            assert isinstance(message, ControllerNews)
            self.feed.take_news(message)


@pytest.fixture
async def pair(database, monkeypatch):
    """Two controllers on one database, `a` and `b`."""
    monkeypatch.setattr(feed_module, "TAIL_PERIOD_S", 0.05)
    url = f"memory://{uuid.uuid4().hex}"
    async with controller_bus(url, "a") as one, controller_bus(url, "b") as other:
        a, b = Listener(database, one), Listener(database, other)
        await a.feed.open()
        await b.feed.open()
        tasks = [asyncio.create_task(a.read(one)), asyncio.create_task(b.read(other))]
        a.bus, b.bus = one, other
        a.tasks = tasks
        yield a, b
        for task in tasks:
            task.cancel()


async def test_others_hear_at_once_without_the_database(pair, ledger, arrived, wait_until):
    a, b = pair
    a.feed.take_stored(await ledger.add([arrived(1), arrived(1, status="cleared")]))
    await wait_until(lambda: len(b.heard) == 2)
    assert a.heard == [("fault-1", "raised", True), ("fault-1", "cleared", True)]
    assert b.heard == [("fault-1", "raised", False), ("fault-1", "cleared", False)]


async def test_others_hear_what_is_let_go_however_often_it_was_heard_of(
    pair, ledger, arrived, wait_until
):
    a, b = pair
    a.feed.take_stored(await ledger.add([arrived(1)]))
    a.feed.take_released(["fault-1"])
    await wait_until(lambda: b.released)
    assert a.released == b.released == ["fault-1"]
    assert len(a.heard) == len(b.heard) == 1  # it is no new fault


async def test_what_the_bus_loses_is_found_in_the_database_once(pair, ledger, arrived, wait_until):
    a, b = pair
    a.bus._broker.cut()
    a.feed.take_stored(await ledger.add([arrived(n) for n in range(500)]))
    a.bus._broker.heal()
    tails = [asyncio.create_task(each.feed.run()) for each in pair]
    await wait_until(lambda: len(b.heard) == 500)
    a.feed.take_stored(await ledger.add([arrived(500)]))
    await wait_until(lambda: len(b.heard) == 501)
    await asyncio.sleep(0.2)  # several readings of the tail
    assert len(a.heard) == len(b.heard) == 501
    assert [fault_id for fault_id, *_ in b.heard] == [f"fault-{n}" for n in range(501)]
    for tail in tails:
        tail.cancel()


async def test_what_is_found_in_the_database_is_as_it_was_told(pair, ledger, arrived, wait_until):
    _a, b = pair
    item = arrived(7, host="compute-9", corrective_action="reboot")
    changes = []
    b.feed.listeners.append(lambda heard: changes.extend(heard.changes))
    await ledger.add([item])
    tail = asyncio.create_task(b.feed.run())
    await wait_until(lambda: changes)
    tail.cancel()
    (found,) = changes
    found.seq, found.stages_ms = item.change.seq, item.change.stages_ms
    assert found == item.change


async def test_what_was_stored_before_is_no_news(pair, ledger, arrived, database):
    a, _b = pair
    await ledger.add([arrived(1)])
    late = Listener(database, a.bus)
    await late.feed.open()
    tail = asyncio.create_task(late.feed.run())
    await asyncio.sleep(0.2)
    tail.cancel()
    assert late.heard == []
