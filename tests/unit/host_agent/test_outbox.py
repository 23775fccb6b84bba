"""What must not be lost is on disk before it is sent, and survives kill -9."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reachthru.host_agent import outbox as outbox_module
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.store import Store, StoreError
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity
from reachthru.protocol.heartbeat.events import Session

SESSION = Session(name="db", interval_ms=400, asked_interval_ms=400, corrective_action="log")


def change(fault_id: str, status: FaultStatus = FaultStatus.RAISED) -> FaultChange:
    return FaultChange(
        fault_id=fault_id,
        seq=0,
        status=status,
        kind=FaultKind.HEARTBEAT_LOST,
        severity=Severity.CRITICAL,
        instance_uuid="u-1",
        instance_name="db",
        host="compute-0",
        raised_at="2026-01-01T00:00:00.000000+00:00",
    )


def cleared(fault_id: str) -> FaultChange:
    return change(fault_id, FaultStatus.CLEARED)


class Desk:
    """Outboxes on one file, one after the other, as the agents of one host have them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stores: list[Store] = []

    async def open(self) -> Outbox:
        loop = asyncio.get_running_loop()
        store = Store(self.path, loop)
        self.stores.append(store)
        outbox = Outbox(store, loop)
        self.ready: list[FaultChange] = []
        outbox.on_ready = self.ready.append
        await outbox.open()
        return outbox

    def ids(self, outbox: Outbox) -> list[str]:
        """What may be sent and was not acknowledged, of the outbox that was opened last."""
        return [change.fault_id for change in self.ready if change.seq in outbox._waiting]

    def close(self) -> None:
        for store in self.stores:
            store.close(5.0)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "not" / "there" / "yet" / "outbox.sqlite")
    yield desk
    desk.close()


async def durable(outbox: Outbox) -> None:
    async with asyncio.timeout(10):
        while outbox._writing:
            await asyncio.sleep(0.001)


async def test_a_change_may_be_sent_only_once_it_is_durable(desk: Desk) -> None:
    outbox = await desk.open()
    outbox.record(change("a"), 0.0)
    assert desk.ids(outbox) == []
    await durable(outbox)
    (sent,) = desk.ready
    assert sent.stages_ms["outbox"] > 0
    rows = sqlite3.connect(desk.path).execute("SELECT seq FROM change").fetchall()
    assert rows == [(1,)]


async def test_changes_come_out_in_order_even_if_the_disk_fails_under_them(desk: Desk) -> None:
    """What is kept in memory is done with at once, and must not overtake what is being written."""
    outbox = await desk.open()
    for number in range(10):
        outbox.record(change(f"f{number}"), 0.0)
    outbox._break(StoreError("no space left on device"))
    for number in range(10, 20):
        outbox.record(change(f"f{number}"), 0.0)
    await durable(outbox)
    assert desk.ids(outbox) == [f"f{number}" for number in range(20)]


async def test_the_next_agent_finds_what_was_not_acknowledged_and_goes_on_counting(
    desk: Desk,
) -> None:
    first = await desk.open()
    for name in ("a", "b", "c"):
        first.record(change(name), 0.0)
    await durable(first)
    first.acknowledge([1, 2, 99])
    first.record(change("d"), 0.0)
    await durable(first)
    second = await desk.open()
    assert desk.ids(second) == ["c", "d"]
    second.acknowledge([3, 4])
    second.record(change("e"), 0.0)
    await durable(second)
    assert [one.seq for one in desk.ready if one.seq in second._waiting] == [5]
    third = await desk.open()
    assert desk.ids(third) == ["e"]


async def test_seqs_are_not_used_again_after_everything_was_acknowledged(desk: Desk) -> None:
    first = await desk.open()
    first.record(change("a"), 0.0)
    await durable(first)
    first.acknowledge([1])
    first.save_session("u-1", "p", SESSION)
    first.record(change("b"), 0.0)
    await durable(first)
    first.acknowledge([2])
    desk.close()
    second = await desk.open()
    second.record(change("c"), 0.0)
    await durable(second)
    assert [one.seq for one in desk.ready if one.seq in second._waiting] == [3]


async def test_active_faults_and_sessions_are_found_again(desk: Desk) -> None:
    first = await desk.open()
    first.record(change("a"), 0.0)
    first.record(change("b"), 0.0)
    first.record(cleared("a"), 0.0)
    first.save_session("u-1", "cgcs.messaging", SESSION)
    first.save_session("u-2", "cgcs.messaging", SESSION)
    first.drop_session("u-2", "cgcs.messaging")
    desk.close()
    second = await desk.open()
    assert list(second.active) == ["b"]
    assert second.sessions == {("u-1", "cgcs.messaging"): SESSION}


async def test_a_disk_that_fails_is_said_once_costs_nothing_and_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.02)
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file where the folder should be")
    desk = Desk(in_the_way / "outbox.sqlite")
    outbox = await desk.open()
    for name in ("a", "b"):
        outbox.record(change(name), 0.0)
        await durable(outbox)
    outbox.save_session("u-1", "p", SESSION)
    assert desk.ids(outbox) == ["a", "b"]
    await asyncio.sleep(0.1)
    assert sum("can't be written" in record.message for record in caplog.records) == 1
    in_the_way.unlink()
    async with asyncio.timeout(5):
        while not any("written again" in record.message for record in caplog.records):
            await asyncio.sleep(0.01)
    outbox.record(change("c"), 0.0)
    await durable(outbox)
    desk.close()
    again = await desk.open()
    assert desk.ids(again) == ["a", "b", "c"]
    assert again.sessions == {("u-1", "p"): SESSION}
    desk.close()


async def test_a_file_that_is_no_database_does_not_stop_the_agent(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.path.parent.mkdir(parents=True)
    desk.path.write_bytes(b"this is not a database" * 1000)
    outbox = await desk.open()
    outbox.record(change("a"), 0.0)
    await durable(outbox)
    assert desk.ids(outbox) == ["a"]
    assert str(desk.path) in caplog.text


async def test_over_its_limit_faults_that_are_over_go_first_and_it_is_said(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox_module, "WAITING_LIMIT", 10)
    monkeypatch.setattr(outbox_module, "DROPPED_AT_ONCE", 2)
    outbox = await desk.open()
    for number in range(3):
        outbox.record(change(f"over-{number}"), 0.0)
        outbox.record(change(f"active-{number}"), 0.0)
        outbox.record(cleared(f"over-{number}"), 0.0)
    outbox.record(change("active-3"), 0.0)
    outbox.record(change("active-4"), 0.0)
    await durable(outbox)
    left = ["active-0", "active-1", "over-2", "active-2", "over-2", "active-3", "active-4"]
    assert desk.ids(outbox) == left
    assert "4 oldest" in caplog.text


async def test_a_fault_that_a_controller_may_have_heard_of_is_never_dropped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stay active there for good."""
    monkeypatch.setattr(outbox_module, "WAITING_LIMIT", 6)
    outbox = await desk.open()
    outbox._drop_at = 6
    outbox.record(change("acknowledged"), 0.0)
    outbox.record(change("sent"), 0.0)
    await durable(outbox)
    outbox.mark_told(desk.ready)
    outbox.acknowledge([1])
    for name in ("acknowledged", "sent"):
        outbox.record(cleared(name), 0.0)
    for number in range(20):
        outbox.record(change(f"untold-{number}"), 0.0)
        outbox.record(cleared(f"untold-{number}"), 0.0)
    await durable(outbox)
    left = desk.ids(outbox)
    assert left[:3] == ["sent", "acknowledged", "sent"]
    assert len(left) < 3 + 40


async def test_what_an_earlier_agent_left_may_have_been_told_by_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await desk.open()
    first.record(change("left"), 0.0)
    await durable(first)
    second = await desk.open()
    second._drop_at = 2
    second.record(cleared("left"), 0.0)
    second.record(change("new"), 0.0)
    await durable(second)
    assert desk.ids(second) == ["left", "left", "new"]


async def test_damaged_entries_cost_themselves_only(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    first = await desk.open()
    for name in ("a", "b", "c"):
        first.record(change(name), 0.0)
    await durable(first)
    desk.close()
    with sqlite3.connect(desk.path) as connection:
        connection.execute("UPDATE change SET body = 'broken' WHERE seq = 2")
        connection.execute("UPDATE active SET body = 'broken' WHERE fault_id = 'c'")
    second = await desk.open()
    assert desk.ids(second) == ["a", "c"]
    assert list(second.active) == ["a", "b"]
    assert second.durable
    assert sum("damaged" in line for line in caplog.messages) == 2
