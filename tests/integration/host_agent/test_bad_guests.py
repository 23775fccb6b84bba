"""Guests that hang, lie, flood or talk nonsense hurt nobody but themselves."""

import asyncio
from pathlib import Path

import pytest

from reachthru.protocol.faults import FaultKind, FaultStatus

RAISED, CLEARED = FaultStatus.RAISED, FaultStatus.CLEARED


def rss_mib(lab) -> float:
    text = Path(f"/proc/{lab.agent.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


async def gaps_of(players, first: int) -> list[float]:
    return [gap for guest in (await players.summary())[first:] for gap in guest["gaps_ms"]]


@pytest.mark.parametrize("how", ["hang", "not_reading"])
async def test_half_of_the_guests_hang_and_the_other_half_keep_their_cadence(lab, how) -> None:
    players = await lab.play(
        *("--interval-ms", "200", "--delay-ms", "20"),
        *("--misbehave", how, "--misbehave-first", "25", "--misbehave-after-s", "3"),
        count=50,
    )
    await lab.start()
    await lab.registered(*players.uuids)
    for uuid in players.uuids[:25]:
        await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=uuid)
    await lab.quiet(2.0, expected=25)
    gaps = sorted(await gaps_of(players, 25))
    late = [gap for gap in gaps if gap > 200 + 50]
    assert len(gaps) > 25 * 10
    assert len(late) <= len(gaps) // 100, late


@pytest.mark.parametrize("how", ["wrong_echo", "late"])
async def test_forged_and_late_answers_count_for_nothing(lab, how) -> None:
    players = await lab.play(
        *("--interval-ms", "200", "--misbehave", how),
        *("--misbehave-first", "1", "--misbehave-after-s", "2"),
        count=2,
    )
    await lab.start()
    await lab.registered(*players.uuids)
    await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[0])
    await lab.quiet(1.5, expected=1)
    await players.do("wake", 0)
    await lab.fault(FaultKind.HEARTBEAT_LOST, CLEARED)


@pytest.mark.parametrize(
    "raw",
    [
        {"latin1": "\xff\xfe\x80 no UTF-8\n"},
        {"latin1": '{"version":1,"source_addr"'},  # and the daemon's next line follows
        {"latin1": "[" * 1000, "repeat": 60},
        {"latin1": '\n{"version":' + "9" * 4000 + "}\n"},
        {"latin1": "x" * 1000, "repeat": 200},
        {"latin1": '\n{"version":7,"source_addr":"a","dest_addr":"b","data":{}}\n', "repeat": 50},
        {"latin1": "\n", "repeat": 100_000},
    ],
    ids=["utf-8", "truncated", "deep", "huge-number", "over-long", "version", "newlines"],
)
async def test_nonsense_costs_its_line_and_the_heartbeat_goes_on(lab, raw) -> None:
    players = await lab.play("--interval-ms", "200", count=2)
    await lab.start()
    await lab.registered(*players.uuids)
    before = (await players.summary())[0]["answers"]
    await players.do("raw", 0, **raw)
    await lab.quiet(1.0)
    assert (await players.summary())[0]["answers"] >= before + 4
    assert lab.instances[players.uuids[0]].registered


async def test_endless_lines_take_bounded_memory(lab) -> None:
    players = await lab.play("--interval-ms", "300", count=2)
    await lab.start()
    await lab.registered(*players.uuids)
    before = rss_mib(lab)
    for _ in range(200):
        await players.do("raw", 0, latin1="x" * 1000, repeat=200)
    assert rss_mib(lab) - before < 4
    await players.do("raw", 0, latin1="\n")
    await asyncio.sleep(1.0)
    # It may have left itself no room for an answer; the other guest is none the worse for it.
    assert {change.instance_uuid for change in lab.faults} <= {players.uuids[0]}


@pytest.mark.parametrize("per_s", [2_000, 100_000])
async def test_a_flooding_guest_hurts_nobody_and_keeps_its_own_heartbeat(lab, per_s) -> None:
    players = await lab.play(
        *("--interval-ms", "200", "--misbehave", "flood", "--flood-per-s", str(per_s)),
        *("--misbehave-first", "1", "--misbehave-after-s", "1"),
        count=10,
    )
    await lab.start()
    await lab.registered(*players.uuids)
    await lab.quiet(3.0)
    assert lab.agent.log.count("flood") == 1
    gaps = await gaps_of(players, 1)
    assert len([gap for gap in gaps if gap > 250]) <= len(gaps) // 50, sorted(gaps)[-10:]
