"""Who speaks to its group is read before the next tick; nobody else is."""

import asyncio
import contextlib
import socket

import pytest

from reachthru.host_agent import engine as engines
from reachthru.host_agent.engine import Engine
from reachthru.host_agent.lateness import AwakeTime

DEADLINE_S = 10


class Port:
    """A guest's port; `heard` is what was read of it."""

    unsent = b""

    def __init__(self):
        self.sock, self.guest = socket.socketpair()
        self.sock.setblocking(False)
        self.heard = []

    def read(self, _now):
        with contextlib.suppress(BlockingIOError):
            self.heard.append(self.sock.recv(100))
        return True

    def detach(self):
        self.sock.close()
        self.sock = None


@pytest.fixture
async def engine(monkeypatch):
    """An engine whose next tick is far away once it has heard something."""
    monkeypatch.setattr(engines, "SLOT_S", 1e6)
    engine = Engine(
        asyncio.get_running_loop(),
        AwakeTime(),
        on_hang_up=lambda _channel: None,
        on_tick=lambda: None,
        on_loss=lambda _lost_s: None,
    )
    engine.start()
    yield engine
    engine.close()


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


async def make_busy(engine):
    """From here on input is looked at on ticks only."""
    first = Port()
    engine.attach(first)
    first.guest.send(b"hello")
    await until(lambda: first.heard)


async def look(engine):
    """What is watched, and was ready before, has been read when this has."""
    last = Port()
    engine.attach(last)
    engine.expect(last)
    last.guest.send(b"the last")
    await until(lambda: last.heard)


async def test_what_a_guest_says_after_a_message_that_was_carried_is_read_at_once(engine):
    port, other = Port(), Port()
    engine.attach(port)
    engine.attach(other)
    await make_busy(engine)
    engine.expect(port)
    other.guest.send(b"an answer")
    port.guest.send(b"a broadcast")
    await until(lambda: port.heard == [b"a broadcast"])
    assert other.heard == []


async def test_once_only_until_another_one_is_carried(engine):
    port = Port()
    engine.attach(port)
    await make_busy(engine)
    engine.expect(port)
    port.guest.send(b"1")
    await until(lambda: port.heard == [b"1"])
    port.guest.send(b"2")
    await look(engine)
    assert port.heard == [b"1"]
    engine.expect(port)
    await until(lambda: port.heard == [b"1", b"2"])


async def test_a_port_that_is_gone_is_watched_no_more(engine):
    port = Port()
    engine.attach(port)
    engine.expect(port)
    engine.detach(port)
    engine.expect(port)
    successor = Port()  # with the same file descriptor, most likely
    engine.attach(successor)
    await make_busy(engine)
    successor.guest.send(b"an answer")
    await look(engine)
    assert successor.heard == []
    engine.expect(successor)
    await until(lambda: successor.heard == [b"an answer"])
