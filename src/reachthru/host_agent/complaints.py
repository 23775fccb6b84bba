"""Sums up, now and then, what guests did wrong: a log that no guest can flood."""

import logging
from collections.abc import Iterable

from reachthru.host_agent.channel import Channel

PERIOD_S = 60.0
LINES_A_PERIOD = 20

_log = logging.getLogger(__name__)


class Complaints:
    """`sum_up` logs the guests whose counts have grown since the last time, the worst first."""

    def __init__(self) -> None:
        self._told: dict[Channel, int] = {}  # how many wrongs were told of, by channel

    def sum_up(self, channels: Iterable[Channel]) -> None:
        wrongs = {channel: _count(channel) for channel in channels}
        grown = [
            (count - self._told.get(channel, 0), channel)
            for channel, count in wrongs.items()
            if count > self._told.get(channel, 0)
        ]
        self._told = {channel: count for channel, count in wrongs.items() if count}
        grown.sort(key=lambda entry: entry[0], reverse=True)
        for _, channel in grown[:LINES_A_PERIOD]:
            _log.warning(
                "%s %s, in all: %s", channel.instance_uuid, channel.port_name, _describe(channel)
            )
        if len(grown) > LINES_A_PERIOD:
            _log.warning("and %d more guests that did something wrong", len(grown) - LINES_A_PERIOD)


def _count(channel: Channel) -> int:
    return sum((channel.peer_errors or {}).values()) + channel.dropped_lines


def _describe(channel: Channel) -> str:
    counts = dict(channel.peer_errors or {})
    counters = channel.core.counters
    counts |= {
        "dropped lines": channel.dropped_lines,
        "messages it did not take": channel.unsent_messages,
        "late answers": counters.late,
        "wrong answers": counters.wrong,
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)
