"""What all guests did, summed up at a scrape: it never falls, and costs no heartbeat."""

import asyncio
from collections import Counter

import pytest

from reachthru.host_agent.channel import Channel
from reachthru.host_agent.guest_totals import INSTANCES_AT_ONCE, GuestTotals
from reachthru.host_agent.instance import Instance
from reachthru.host_agent.judge import Judge
from reachthru.protocol.codec import Dialect
from reachthru.protocol.faults import Condition
from reachthru.protocol.heartbeat.events import HostEvent
from reachthru.protocol.heartbeat.host import HostHeartbeat, HostPolicy
from reachthru.protocol.messages import ChallengeResponse, Init

CHALLENGE = 7
PORT = "cgcs.messaging"


class Nobody:
    def heard(self, channel: Channel, events: list[HostEvent], now: float) -> None: ...


def guest(answered: int = 0, dropped_lines: int = 0, **errors: int) -> Instance:
    core = HostHeartbeat(HostPolicy(), lambda: CHALLENGE)
    channel = Channel("u", PORT, Dialect.MUX, core, Nobody())
    channel.core.counters.answered = answered
    channel.dropped_lines = dropped_lines
    channel.peer_errors = Counter(errors) or None
    made = Instance("u", "u", Judge(lambda: "f"), lambda _instance: None)
    made.channels[PORT] = channel
    return made


def answered_in(instance: Instance, took_s: float, sent_at: float = 100.0) -> None:
    """Registers at `sent_at`, which is when the first challenge is sent."""
    core = instance.channels[PORT].core
    core.receive(Init(invocation_id=1, heartbeat_interval_ms=1000, name="db"), sent_at)
    response = ChallengeResponse(
        heartbeat_response=CHALLENGE,
        heartbeat_health="healthy",
        corrective_action="log",
        log_msg="",
    )
    core.receive(response, sent_at + took_s)


async def test_ports_that_are_gone_still_count() -> None:
    totals = GuestTotals()
    gone, here = guest(answered=5, not_json=2, dropped_lines=3), guest(answered=1, not_json=1)
    before = await totals.take([gone, here])
    totals.retire(gone.channels.pop(PORT))
    after = await totals.take([here, gone])
    for sums in (before, after):
        assert sums.heartbeats["answered"] == 6
        assert sums.errors == {"not_json": 3}
        assert sums.dropped_lines == 3


async def test_every_guest_counts_however_many_there_are() -> None:
    many = [guest(answered=1) for _ in range(INSTANCES_AT_ONCE * 2 + 1)]
    sums = await GuestTotals().take(many)
    assert sums.heartbeats["answered"] == len(many)
    assert sums.conditions == {Condition.STARTING_UP: len(many)}


@pytest.mark.parametrize("which", [0, -1], ids=["looked at", "not looked at yet"])
async def test_a_port_that_goes_meanwhile_counts_once(which: int) -> None:
    totals, many = GuestTotals(), [guest(answered=1) for _ in range(INSTANCES_AT_ONCE * 2)]
    taking = asyncio.create_task(totals.take(many))
    await asyncio.sleep(0)  # the first ones were looked at
    totals.retire(many[which].channels.pop(PORT))
    assert (await taking).heartbeats["answered"] == len(many)
    assert (await totals.take(many)).heartbeats["answered"] == len(many)


async def test_other_work_has_its_turn_while_many_are_summed_up() -> None:
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(work())
    await GuestTotals().take([guest() for _ in range(INSTANCES_AT_ONCE * 5)])
    working.cancel()
    assert turns >= 5


async def test_the_latest_round_trip_of_each_guest_is_sampled() -> None:
    totals, quick, slow, silent = GuestTotals(), guest(), guest(), guest()
    answered_in(quick, 0.004)
    answered_in(slow, 0.2)
    silent.channels[PORT].core.receive(
        Init(invocation_id=1, heartbeat_interval_ms=1000, name="db"), 0.0
    )
    await totals.take([quick, slow, silent])
    counts = dict(totals.round_trips.cumulated()[0])
    assert counts["0.005"] == 1
    assert counts["0.1"] == 1
    assert counts["0.25"] == counts["+Inf"] == 2
