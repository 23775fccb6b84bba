"""What all guests are and did, summed up when somebody asks: a heartbeat pays nothing for it."""

import asyncio
from collections import Counter
from collections.abc import Collection

from reachthru.host_agent.channel import Channel
from reachthru.host_agent.instance import Instance
from reachthru.protocol.faults import Condition
from reachthru.telemetry.metrics import Tally

INSTANCES_AT_ONCE = 200  # then other work has its turn: well under a tick's length
OUTCOMES = ("answered", "missed", "late", "wrong", "ignored")


class Sums:
    def __init__(self) -> None:
        # As they are now.
        self.conditions: Counter[Condition] = Counter()
        self.registered = 0
        self.unhealthy = 0
        self.ports: Counter[bool] = Counter()  # by whether they are connected
        # Since the agent's start.
        self.heartbeats: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.errors: Counter[str] = Counter()
        self.dropped_lines = 0
        self.unsent_messages = 0

    def add(self, instance: Instance) -> None:
        self.conditions[instance.judge.condition] += 1
        self.registered += instance.session is not None
        self.unhealthy += instance.health == "unhealthy"
        for channel in instance.channels.values():
            self.ports[channel.sock is not None] += 1
            self.count(channel)

    def count(self, channel: Channel) -> None:
        """What its guest did."""
        counters = channel.core.counters
        for outcome in OUTCOMES:
            self.heartbeats[outcome] += getattr(counters, outcome)
        if channel.peer_errors:
            self.errors.update(channel.peer_errors)
        self.dropped_lines += channel.dropped_lines
        self.unsent_messages += channel.unsent_messages

    def counted(self) -> "Sums":
        """A copy of what was counted since the start."""
        copy = Sums()
        copy.heartbeats.update(self.heartbeats)
        copy.errors.update(self.errors)
        copy.dropped_lines = self.dropped_lines
        copy.unsent_messages = self.unsent_messages
        return copy


class GuestTotals:
    """`retire` keeps what a port counted when it goes: what is counted never falls.

    Prometheus takes a counter that falls for one that began anew, so each port counts exactly once,
    also one that goes while others are being summed up.
    """

    def __init__(self) -> None:
        self.round_trips = Tally()
        self._retired = Sums()
        self._retired_meanwhile: list[list[Channel]] = []  # one for each sum that is being made

    def retire(self, channel: Channel) -> None:
        self._retired.count(channel)
        for meanwhile in self._retired_meanwhile:
            meanwhile.append(channel)

    async def take(self, instances: Collection[Instance]) -> Sums:
        """Sums up, and samples each guest's latest round trip. On the event loop."""
        sums, seen = self._retired.counted(), set[Channel]()
        meanwhile: list[Channel] = []
        self._retired_meanwhile.append(meanwhile)
        try:
            for number, instance in enumerate(list(instances), 1):
                if number % INSTANCES_AT_ONCE == 0:
                    await asyncio.sleep(0)
                sums.add(instance)
                seen.update(instance.channels.values())
                self._sample(instance)
        finally:
            self._retired_meanwhile.remove(meanwhile)
        for channel in meanwhile:
            if channel not in seen:
                sums.count(channel)
        return sums

    def _sample(self, instance: Instance) -> None:
        for channel in instance.channels.values():
            round_trip_s = channel.core.round_trip_s
            if round_trip_s is not None:
                self.round_trips.add(round_trip_s)
