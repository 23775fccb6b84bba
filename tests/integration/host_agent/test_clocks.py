"""Monotonic time decides, wall time informs: a stepped clock neither makes nor hides a fault."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reachthru.protocol.faults import FaultKind, FaultStatus

# Debian's libfaketime: the real clock with an offset that may change while a process runs.
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@pytest.fixture
def step_clock(tmp_path, monkeypatch):
    """Steps the wall clock of processes that are started from here on, by so many seconds."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", str(FAKETIME))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    return lambda seconds: offset.write_text(f"{seconds:+d}")


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_host_clock_that_is_stepped_makes_no_fault_and_hides_none(
    lab, step_clock, monkeypatch, hours: int
) -> None:
    await lab.start()
    monkeypatch.delenv("LD_PRELOAD")  # the guests keep their time
    players = await lab.play("--interval-ms", "300", count=5)
    await lab.registered(*players.uuids)
    step_clock(hours * 3600)
    await lab.quiet(2.0)
    hung_at = await players.do("hang", 0)
    raised = await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[0])
    assert lab.arrival(raised) - hung_at < 2 * 0.3 + 0.3
    told = datetime.fromisoformat(raised.raised_at) - datetime.now(UTC)
    assert abs(told - timedelta(hours=hours)) < timedelta(minutes=1)  # the step was there
    step_clock(0)
    await players.do("wake", 0)
    await lab.fault(FaultKind.HEARTBEAT_LOST, FaultStatus.CLEARED, players.uuids[0])
    await asyncio.sleep(1.0)
    assert len(lab.told()) == 2
