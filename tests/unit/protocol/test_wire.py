"""Both ends over a perfect, a byte-wise, a lossy and a delayed wire, on the test's own clock."""

import random
from collections.abc import Callable
from heapq import heappop, heappush

import pytest

from reachthru.protocol.codec import Dialect, Received
from reachthru.protocol.heartbeat.events import HostEvent, Lost, Registered
from reachthru.protocol.heartbeat.guest import GuestHeartbeat, GuestPolicy
from reachthru.protocol.heartbeat.host import HostHeartbeat, HostPolicy
from reachthru.protocol.link import Link
from reachthru.protocol.messages import CorrectiveAction

Wire = Callable[[float, bytes], list[tuple[float, bytes]]]


def perfect(now: float, data: bytes) -> list[tuple[float, bytes]]:
    return [(now, data)]


def bytewise(now: float, data: bytes) -> list[tuple[float, bytes]]:
    return [(now + index * 1e-6, data[index : index + 1]) for index in range(len(data))]


def delayed(now: float, data: bytes) -> list[tuple[float, bytes]]:
    return [(now + 0.15, data)]


class Play:
    """A host and a guest, their bytes under way, and the time."""

    def __init__(self, dialect: Dialect, to_guest: Wire, to_host: Wire) -> None:
        chance = random.Random(1)
        policy = GuestPolicy("vm", 400, CorrectiveAction.LOG)
        self.host = HostHeartbeat(HostPolicy(), lambda: chance.randrange(2**31 - 1))
        self.guest = GuestHeartbeat(policy, lambda: chance.randrange(2**31 - 1))
        self.links = {"host": Link(dialect), "guest": Link(dialect)}
        self.cores: dict[str, HostHeartbeat | GuestHeartbeat] = {
            "host": self.host,
            "guest": self.guest,
        }
        self.wires = {"host": to_host, "guest": to_guest}
        self.under_way: list[tuple[float, int, str, bytes]] = []
        self.sent = 0
        self.events: list[HostEvent] = []

    def run(self, until: float) -> None:
        self.guest.attach(0.0)
        now = 0.0
        while now < until:
            self.flush(now)
            moments = [self.host.deadline(), self.guest.deadline()]
            if self.under_way:
                moments.append(self.under_way[0][0])
            now = min(moment for moment in moments if moment is not None)
            while self.under_way and self.under_way[0][0] <= now:
                _, _, end, data = heappop(self.under_way)
                for received in self.links[end].feed(data):
                    if isinstance(received, Received):
                        self.cores[end].receive(received.message, now)
            self.host.wake(now)
            self.guest.wake(now)
            self.events += self.host.take_events()

    def flush(self, now: float) -> None:
        for end, other in (("host", "guest"), ("guest", "host")):
            data = b"".join(map(self.links[end].encode, self.cores[end].take_output()))
            for at, piece in self.wires[other](now, data) if data else ():
                self.sent += 1
                heappush(self.under_way, (at, self.sent, other, piece))


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("wire", [perfect, bytewise, delayed])
def test_a_healthy_guest_is_never_blamed(dialect: Dialect, wire: Wire) -> None:
    play = Play(dialect, wire, wire)
    play.run(600.0)
    assert [event for event in play.events if isinstance(event, Lost)] == []
    assert play.host.counters.answered > 1000


def test_a_lossy_wire_costs_beats_and_the_guest_always_comes_back() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    def lossy(now: float, data: bytes) -> list[tuple[float, bytes]]:
        kept = bytes(byte for byte in data if chance.random() > 0.001)
        return [(now, kept)]

    play = Play(Dialect.MUX, lossy, lossy)
    play.run(600.0)
    assert play.host.counters.missed > 0
    assert play.host.counters.answered > 500


def test_a_registration_that_is_lost_is_repeated() -> None:
    dropped: list[bytes] = []

    def lose_first(now: float, data: bytes) -> list[tuple[float, bytes]]:
        if len(dropped) < 3:
            dropped.append(data)
            return []
        return [(now, data)]

    play = Play(Dialect.MUX, perfect, lose_first)
    play.run(10.0)
    assert any(isinstance(event, Registered) for event in play.events)
