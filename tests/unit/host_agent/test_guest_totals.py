"""What all guests did, summed up at a scrape: it never falls, and costs no heartbeat."""

from collections import Counter

from reachthru.host_agent.channel import Channel
from reachthru.host_agent.guest_totals import CHANNELS_AT_ONCE, GuestTotals
from reachthru.protocol.codec import Dialect
from reachthru.protocol.heartbeat.events import HostEvent
from reachthru.protocol.heartbeat.host import HostHeartbeat, HostPolicy
from reachthru.protocol.messages import ChallengeResponse, Init

CHALLENGE = 7


class Nobody:
    def heard(self, channel: Channel, events: list[HostEvent], now: float) -> None: ...


def channel(answered: int = 0, dropped_lines: int = 0, **errors: int) -> Channel:
    core = HostHeartbeat(HostPolicy(), lambda: CHALLENGE)
    made = Channel("u", "cgcs.messaging", Dialect.MUX, core, Nobody())
    made.core.counters.answered = answered
    made.dropped_lines = dropped_lines
    made.peer_errors = Counter(errors) or None
    return made


def answered_in(core: HostHeartbeat, took_s: float, sent_at: float = 100.0) -> None:
    """Registers at `sent_at`, which is when the first challenge is sent."""
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
    gone, here = channel(answered=5, not_json=2, dropped_lines=3), channel(answered=1, not_json=1)
    before = await totals.take([gone, here])
    totals.retire(gone)
    after = await totals.take([here])
    for sums in (before, after):
        assert sums.heartbeats["answered"] == 6
        assert sums.errors == {"not_json": 3}
        assert sums.dropped_lines == 3


async def test_every_channel_counts_however_many_there_are() -> None:
    many = [channel(answered=1) for _ in range(CHANNELS_AT_ONCE * 2 + 1)]
    assert (await GuestTotals().take(many)).heartbeats["answered"] == len(many)


async def test_the_latest_round_trip_of_each_guest_is_sampled() -> None:
    totals, quick, slow, silent = GuestTotals(), channel(), channel(), channel()
    answered_in(quick.core, 0.004)
    answered_in(slow.core, 0.2)
    silent.core.receive(Init(invocation_id=1, heartbeat_interval_ms=1000, name="db"), 0.0)
    await totals.take([quick, slow, silent])
    counts = dict(totals.round_trips.cumulated()[0])
    assert counts["0.005"] == 1
    assert counts["0.1"] == 1
    assert counts["0.25"] == counts["+Inf"] == 2
