"""Many guests, few of them good: one guest can't hurt another, and a busy host blames nobody."""

import asyncio
import subprocess
import sys
import time

import pytest

BUSY = [sys.executable, "-c", "while True: pass"]


@pytest.fixture
def busy_core():
    """Something on this compute node takes a whole core."""
    process = subprocess.Popen(BUSY)
    yield
    process.kill()
    process.wait()


async def test_200_guests_beside_a_busy_core_are_not_blamed_for_a_minute(lab, busy_core) -> None:
    await lab.start()
    players = await lab.play("--interval-ms", "1000", "--delay-ms", "20", count=200)
    await lab.registered(*players.uuids, timeout_s=30)
    await lab.quiet(60.0)
    answers = [guest["answers"] for guest in await players.summary()]
    assert min(answers) >= 58


@pytest.mark.parametrize("misbehave", ["hang", "not_reading", "flood"])
async def test_half_of_the_guests_gone_bad_leave_the_others_their_cadence(lab, misbehave) -> None:
    count, seconds = 100, 8
    await lab.start()
    bad = await lab.play("--interval-ms", "200", seed=1, count=count // 2)
    good = await lab.play("--interval-ms", "200", "--delay-ms", "20", seed=2, count=count // 2)
    await lab.registered(*bad.uuids, *good.uuids)
    before = [guest["answers"] for guest in await good.summary()]
    began_at = time.monotonic()
    if misbehave == "flood":
        line = '{"version":1,"source_addr":"cgcs.server_grp","dest_addr":"x","data":{}}\n'
        for _ in range(seconds * 6):
            await bad.do("raw", *range(count // 2), latin1=line, repeat=40)
            await asyncio.sleep(0.15)
    else:
        await bad.do("hang" if misbehave == "hang" else "stop_reading", *range(count // 2))
        await asyncio.sleep(seconds)
    elapsed_s = time.monotonic() - began_at
    after = [guest["answers"] for guest in await good.summary()]
    gained = [late - early for early, late in zip(before, after, strict=True)]
    assert min(gained) >= elapsed_s / 0.2 * 0.95 - 1, (elapsed_s, gained)
    blamed = {change.instance_uuid for change in lab.faults}
    assert not blamed & set(good.uuids)
    assert blamed == (set() if misbehave == "flood" else set(bad.uuids))


async def test_what_a_flooding_guest_loses_is_counted_and_said_once(lab) -> None:
    await lab.start()
    players = await lab.play(
        "--interval-ms", "200", "--misbehave", "flood", "--misbehave-first", "1"
    )
    await lab.registered(*players.uuids)
    await asyncio.sleep(2.0)
    assert lab.agent.log.count("more than 200 messages a second") == 1
    await lab.quiet(1.0)
