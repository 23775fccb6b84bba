"""Guests' wrongs are summed up in a few lines, however many there are."""

from collections import Counter

import pytest

from reachthru.host_agent.channel import Channel
from reachthru.host_agent.complaints import LINES_A_PERIOD, Complaints
from reachthru.protocol.codec import Dialect
from reachthru.protocol.heartbeat.events import HostEvent
from reachthru.protocol.heartbeat.host import HostHeartbeat, HostPolicy


class Nobody:
    def heard(self, channel: Channel, events: list[HostEvent], now: float) -> None: ...


def channel(uuid: str, **errors: int) -> Channel:
    core = HostHeartbeat(HostPolicy(), lambda: 1)
    made = Channel(uuid, "cgcs.messaging", Dialect.MUX, core, Nobody())
    made.peer_errors = Counter(errors) or None
    return made


def test_a_guest_is_named_when_its_counts_have_grown_and_not_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints = Complaints()
    bad, good = channel("u-bad", not_json=3), channel("u-good")
    bad.dropped_lines = 40
    complaints.sum_up([bad, good])
    assert "u-bad" in caplog.text
    assert "3 not_json" in caplog.text
    assert "40 dropped lines" in caplog.text
    assert "u-good" not in caplog.text
    caplog.clear()
    complaints.sum_up([bad, good])
    assert caplog.text == ""
    bad.dropped_lines += 1
    complaints.sum_up([bad, good])
    assert "41 dropped lines" in caplog.text


def test_many_bad_guests_are_a_few_lines_and_a_number(caplog: pytest.LogCaptureFixture) -> None:
    channels = [channel(f"u-{number}", not_json=number) for number in range(1, 101)]
    Complaints().sum_up(channels)
    assert len(caplog.records) == LINES_A_PERIOD + 1
    assert "u-100" in caplog.records[0].message
    assert f"{100 - LINES_A_PERIOD} more" in caplog.records[-1].message
