"""What all guests did, summed up when somebody asks: the way of a heartbeat pays nothing for it."""

import asyncio
from collections import Counter
from collections.abc import Iterable

from reachthru.host_agent.channel import Channel
from reachthru.telemetry.metrics import Tally

CHANNELS_AT_ONCE = 200  # then other work has its turn: well under a tick's length
OUTCOMES = ("answered", "missed", "late", "wrong", "ignored")


class GuestTotals:
    """`retire` keeps what a port counted when it goes: what is summed up never falls."""

    def __init__(self) -> None:
        self.round_trips = Tally()
        self._retired = Sums()

    def retire(self, channel: Channel) -> None:
        self._retired.add(channel)

    async def take(self, channels: Iterable[Channel]) -> "Sums":
        """Sums up, and samples each guest's latest round trip. On the event loop."""
        sums = self._retired.copy()
        for number, channel in enumerate(channels, 1):
            if number % CHANNELS_AT_ONCE == 0:
                await asyncio.sleep(0)
            sums.add(channel)
            round_trip_s = channel.core.round_trip_s
            if round_trip_s is not None:
                self.round_trips.add(round_trip_s)
        return sums


class Sums:
    def __init__(self) -> None:
        self.heartbeats: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.errors: Counter[str] = Counter()
        self.dropped_lines = 0
        self.unsent_messages = 0

    def add(self, channel: Channel) -> None:
        counters = channel.core.counters
        for outcome in OUTCOMES:
            self.heartbeats[outcome] += getattr(counters, outcome)
        if channel.peer_errors:
            self.errors.update(channel.peer_errors)
        self.dropped_lines += channel.dropped_lines
        self.unsent_messages += channel.unsent_messages

    def copy(self) -> "Sums":
        other = Sums()
        other.heartbeats.update(self.heartbeats)
        other.errors.update(self.errors)
        other.dropped_lines = self.dropped_lines
        other.unsent_messages = self.unsent_messages
        return other
