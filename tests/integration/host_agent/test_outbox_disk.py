"""The outbox on a disk that is full, read-only or away, and under kill -9."""

import asyncio
import contextlib
import importlib.util
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from reachthru.host_agent import outbox as outbox_module
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.store import Store
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("small_disk", HERE / "small_disk.py")
small_disk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_disk)


@pytest.fixture
def disk(tmp_path) -> Iterator:
    with small_disk.small_disk(tmp_path / "disk") as made:
        yield made


class Agents:
    """Outboxes on one file, one after the other; `ready` is of the last one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store: Store | None = None

    async def open(self) -> Outbox:
        self.end()
        loop = asyncio.get_running_loop()
        self._store = Store(self.path, loop)
        outbox = Outbox(self._store, loop)
        self.ready: list[FaultChange] = []
        self.found: list[FaultChange] = []
        outbox.on_ready = self.ready.append
        outbox.on_found = self.found.append
        await outbox.open()
        return outbox

    def end(self) -> None:
        if self._store is not None:
            self._store.close(5.0)

    async def waits(self, *fault_ids: str) -> None:
        """Until just these may be sent."""
        async with asyncio.timeout(5):
            while [change.fault_id for change in self.ready] != list(fault_ids):
                await asyncio.sleep(0.005)


@pytest.fixture
async def agents(disk, monkeypatch) -> AsyncIterator[Agents]:
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.05)
    agents = Agents(disk.path / "outbox.sqlite")
    yield agents
    agents.end()


def record(outbox: Outbox, fault_id: str, detail: str = "") -> None:
    change = FaultChange(
        fault_id=fault_id,
        seq=0,
        status=FaultStatus.RAISED,
        kind=FaultKind.HEARTBEAT_LOST,
        severity=Severity.CRITICAL,
        instance_uuid=f"u-{fault_id}",
        instance_name="db",
        host="compute-0",
        raised_at="2026-01-01T00:00:00.000000+00:00",
        detail=detail,
    )
    outbox.record(change, time.monotonic())


async def mended(outbox: Outbox, path: Path, count: int) -> None:
    """Until everything is on disk, as another process sees it."""
    async with asyncio.timeout(5):
        while not outbox.durable or rows(path) != count:
            await asyncio.sleep(0.01)


def rows(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            return connection.execute("SELECT count(*) FROM change").fetchone()[0]
        except sqlite3.Error:
            return -1


async def test_a_disk_that_fills_up_holds_up_nothing_and_gets_everything_later(
    disk, agents, caplog
) -> None:
    outbox = await agents.open()
    record(outbox, "before")
    await agents.waits("before")
    disk.fill()
    names = [f"full-{number}" for number in range(30)]
    for name in names:  # enough for any page that SQLite still has
        record(outbox, name, detail="d" * 3000)
    await agents.waits("before", *names)
    assert not outbox.durable
    assert sum("can't be written" in line for line in caplog.messages) == 1
    assert "full" in next(line for line in caplog.messages if "can't be written" in line)
    disk.empty()
    await mended(outbox, agents.path, 31)
    assert sum("written again" in line for line in caplog.messages) == 1
    await agents.open()
    await agents.waits("before", *names)


async def test_an_agent_that_starts_on_a_full_disk_still_tells_what_an_earlier_one_left(
    disk, agents
) -> None:
    first = await agents.open()
    record(first, "left")
    await agents.waits("left")
    agents.end()
    disk.fill()
    second = await agents.open()
    await agents.waits("left")
    assert list(second.active) == ["left"]
    record(second, "new", detail="d" * 9000)
    await agents.waits("left", "new")
    disk.empty()
    await mended(second, agents.path, 2)
    await agents.open()
    await agents.waits("left", "new")


@pytest.mark.parametrize("orderly", [True, False])
async def test_an_agent_that_starts_on_a_read_only_disk_does_too(disk, agents, orderly) -> None:
    """After a kill -9, SQLite's log still lies beside the file."""
    if orderly:
        first = await agents.open()
        record(first, "left")
        await agents.waits("left")
        agents.end()
        left = ["left"]
    else:
        left = [str(seq) for seq in kill_a_writer(agents.path, 0.0, "keep")[0]]
    disk.make_read_only()
    second = await agents.open()
    assert len(agents.ready) >= len(left)
    count = len(agents.ready)
    record(second, "new")
    async with asyncio.timeout(5):
        while agents.ready[-1].fault_id != "new":
            await asyncio.sleep(0.005)
    assert not second.durable
    disk.make_writable()
    await mended(second, agents.path, count + 1)
    await agents.open()
    assert len(agents.ready) == count + 1


async def test_what_could_not_even_be_read_at_the_start_is_read_before_it_is_written(
    disk, agents
) -> None:
    """The folder was not there yet: a file system that was mounted late."""
    first = await agents.open()
    record(first, "left")
    await agents.waits("left")
    agents.end()
    away = agents.path.with_name("away")
    agents.path.rename(away)
    agents.path.mkdir()
    second = await agents.open()
    record(second, "new")
    await agents.waits("new")
    agents.path.rmdir()
    away.rename(agents.path)
    await agents.waits("new", "left")
    assert [change.fault_id for change in agents.found] == ["left"]
    await mended(second, agents.path, 2)
    await agents.open()
    assert {change.fault_id for change in agents.ready} == {"new", "left"}
    assert len({change.seq for change in agents.ready}) == 2


def kill_a_writer(path: Path, after_s: float, mode: str) -> tuple[set[int], set[int]]:
    """(seqs that were said to be sendable, seqs that were acknowledged)"""
    writer = subprocess.Popen(
        [sys.executable, HERE / "outbox_writer.py", path, mode], stdout=subprocess.PIPE
    )
    first = writer.stdout.readline()
    time.sleep(after_s)
    writer.kill()
    said = [int(line) for line in (first + writer.stdout.read()).splitlines()]
    writer.wait(10)
    return {seq for seq in said if seq > 0}, {-seq for seq in said if seq < 0}


@pytest.mark.parametrize("mode", ["keep", "acknowledge"])
async def test_kill_9_never_loses_a_change_that_was_said_to_be_sendable(tmp_path, mode) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    agents = Agents(tmp_path / "outbox.sqlite")
    said: set[int] = set()
    acknowledged: set[int] = set()
    for _ in range(8):
        more, done = await asyncio.to_thread(
            kill_a_writer, agents.path, chance.uniform(0.0, 0.15), mode
        )
        said |= more
        acknowledged |= done
    outbox = await agents.open()
    waiting = [change.seq for change in agents.ready]
    agents.end()
    assert waiting == sorted(waiting)
    assert said - acknowledged <= set(waiting)
    assert len(said) > 50
    assert outbox.durable


async def test_on_a_full_disk_the_agent_heartbeats_tells_faults_and_says_that_it_is_full(
    lab, tmp_path
) -> None:
    with small_disk.small_disk(tmp_path / "disk") as disk:
        settings = lab.folder / "host.conf"
        settings.write_text(
            settings.read_text().replace(f"{lab.folder}/state", str(disk.path / "state"))
        )
        players = await lab.play("--interval-ms", "200", count=3)
        await lab.start()
        await lab.registered(*players.uuids)
        disk.fill()
        for _ in range(20):  # until SQLite has no page left
            await players.do("hang", 1)
            await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[1])
            await players.do("wake", 1)
            await lab.fault(FaultKind.HEARTBEAT_LOST, FaultStatus.CLEARED, players.uuids[1])
            if "can't be written" in lab.agent.log:
                break
            lab.faults.clear()
        lab.acknowledging = False
        await players.do("hang", 0)
        first = await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[0])
        async with asyncio.timeout(10):
            while lab.reports[-1].outbox_durable or not lab.reports[-1].waiting:
                await asyncio.sleep(0.05)
        before = [guest["answers"] for guest in await players.summary()]
        await asyncio.sleep(1.0)
        after = [guest["answers"] for guest in await players.summary()]
        assert after[2] > before[2] + 2
        disk.empty()
        async with asyncio.timeout(10):
            while "written again" not in lab.agent.log:
                await asyncio.sleep(0.05)
        lab.agent.kill()
        lab.acknowledging = True
        lab.faults.clear()
        await lab.start()
        again = await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[0])
        assert again.fault_id == first.fault_id
        assert lab.agent.log.count("can't be written") == 1
        lab.agent.kill()
