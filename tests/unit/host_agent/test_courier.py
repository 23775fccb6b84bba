"""What the outbox holds reaches the carrier, in order, and again until a controller has it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reachthru.bus.base import BusRefusedError
from reachthru.bus.memory import MemoryAgentBus, broker
from reachthru.host_agent import courier
from reachthru.host_agent.courier import Courier
from reachthru.host_agent.lanes import RESEND_S, WINDOW
from reachthru.host_agent.outbox import Outbox
from reachthru.protocol.agent_bus import AgentMessage, FaultBatch, FaultChange, read_batch
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity


class Line(MemoryAgentBus):
    """The memory carrier, which notes what it was given and may be told to fail."""

    def __init__(self, name: str) -> None:
        super().__init__(f"memory://{name}", "compute-0")
        self.sent: list[int] = []
        self.messages_of: list[list[int]] = []  # the seqs of each
        self.changes_limit = 1_000  # longer messages are refused

    async def send(self, message: AgentMessage) -> None:
        await super().send(message)
        if isinstance(message, FaultBatch):
            if len(message.changes) > self.changes_limit:
                raise BusRefusedError("too long")
            seqs = [change.seq for change in read_batch(message) if isinstance(change, FaultChange)]
        else:
            seqs = [message.seq] if isinstance(message, FaultChange) else []
        self.sent += seqs
        self.messages_of.append(seqs)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Desk:
    def __init__(self, line: Line) -> None:
        self.line = line
        self.clock = Clock()
        self.outbox = Outbox(None, asyncio.get_running_loop())  # type: ignore[arg-type]
        self.outbox._broken = True  # memory only
        self.courier = Courier(line, self.outbox, self.clock)
        line.on_connection = lambda connected: self.courier.rewind() if connected else None

    def record(self, count: int, instance: str | None = None) -> None:
        """Of an instance each, if not all of `instance`."""
        for _ in range(count):
            change = FaultChange(
                fault_id="f",
                seq=0,
                status=FaultStatus.RAISED,
                kind=FaultKind.UNHEALTHY,
                severity=Severity.MAJOR,
                instance_uuid=instance or f"u-{self.outbox._last_seq}",
                instance_name="n",
                host="compute-0",
                raised_at="",
            )
            self.outbox.record(change, 0.0)

    async def sent(self, count: int) -> list[int]:
        async with asyncio.timeout(5):
            while len(self.line.sent) < count:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        return self.line.sent


@pytest.fixture
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    name = request.node.name
    held = broker(name)
    line = Line(name)
    desk = Desk(line)
    running = asyncio.create_task(desk.courier.run())
    async with line:
        yield desk
    running.cancel()
    assert held.up


async def test_everything_is_sent_once_and_in_order(desk: Desk) -> None:
    desk.record(120)
    assert await desk.sent(120) == list(range(1, 121))


async def test_no_more_than_a_window_is_on_its_way(desk: Desk) -> None:
    desk.record(3 * WINDOW)
    assert len(await desk.sent(WINDOW)) == WINDOW
    desk.courier.acknowledge([1, 2, 3])
    assert (await desk.sent(WINDOW + 3))[WINDOW:] == [WINDOW + 1, WINDOW + 2, WINDOW + 3]


async def test_an_instances_changes_go_one_by_one(desk: Desk) -> None:
    desk.record(3, "u")
    assert await desk.sent(1) == [1]
    desk.courier.acknowledge([1])
    assert await desk.sent(2) == [1, 2]
    desk.courier.acknowledge([2, 2, 1])
    assert await desk.sent(3) == [1, 2, 3]


async def test_what_is_not_acknowledged_is_sent_again_in_order(desk: Desk) -> None:
    desk.record(3)
    await desk.sent(3)
    desk.courier.acknowledge([2])
    desk.clock.now = RESEND_S
    desk.record(1)  # something to wake for
    assert (await desk.sent(6))[3:] == [1, 3, 4]


async def test_a_missing_acknowledgement_wakes_the_courier(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reachthru.host_agent.lanes.RESEND_S", 0.05)
    desk.courier._clock = asyncio.get_running_loop().time
    desk.record(2)
    assert (await desk.sent(4))[2:4] == [1, 2]


async def test_a_partition_loses_nothing_and_keeps_the_order(desk: Desk) -> None:
    desk.record(2)
    await desk.sent(2)
    desk.courier.acknowledge([1])
    desk.line._broker.cut()
    desk.record(3)
    await asyncio.sleep(0.05)
    assert desk.line.sent == [1, 2]
    desk.line._broker.heal()
    assert (await desk.sent(6))[2:] == [2, 3, 4, 5]


async def test_a_controller_that_asks_gets_what_it_did_not_acknowledge(desk: Desk) -> None:
    desk.record(2)
    await desk.sent(2)
    desk.courier.acknowledge([1])
    desk.courier.rewind()
    assert (await desk.sent(3))[2:] == [2]


async def test_what_goes_together_is_one_message_for_a_controller_that_takes_it(desk: Desk) -> None:
    desk.courier.acknowledge([], batch_limit=20)
    desk.record(45)
    assert await desk.sent(45) == list(range(1, 46))
    assert [len(seqs) for seqs in desk.line.messages_of] == [20, 20, 5]


async def test_a_change_alone_goes_as_it_always_did(desk: Desk) -> None:
    desk.courier.acknowledge([], batch_limit=20)
    desk.record(1)
    await desk.sent(1)
    assert desk.line.messages_of == [[1]]


async def test_before_a_controller_was_heard_changes_go_one_by_one(desk: Desk) -> None:
    desk.record(3)
    await desk.sent(3)
    assert desk.line.messages_of == [[1], [2], [3]]


async def test_one_older_controller_among_several_gets_changes_one_by_one(desk: Desk) -> None:
    for batch_limit in (20, 0, 20):
        desk.courier.acknowledge([], batch_limit)
    desk.record(3)
    await desk.sent(3)
    assert desk.line.messages_of == [[1], [2], [3]]


async def test_who_is_there_is_learned_anew_when_a_controller_starts(desk: Desk) -> None:
    desk.courier.acknowledge([], batch_limit=0)
    desk.courier.rewind()
    desk.courier.acknowledge([], batch_limit=20)
    desk.record(3)
    await desk.sent(3)
    assert desk.line.messages_of == [[1, 2, 3]]


async def test_what_nobody_acknowledged_goes_again_by_itself(desk: Desk) -> None:
    """An older controller, which was not heard yet, may have got the first one."""
    desk.courier.acknowledge([], batch_limit=20)
    desk.record(3)
    await desk.sent(3)
    desk.clock.now = RESEND_S
    desk.record(1)  # something to wake for
    await desk.sent(7)
    assert desk.line.messages_of[0] == [1, 2, 3]
    assert sorted(desk.line.messages_of[1:]) == [[1], [2], [3], [4]]


async def test_a_broker_that_takes_no_long_messages_gets_short_ones(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "RETRY_S", 0.01)
    desk.line.changes_limit = 2
    desk.courier.acknowledge([], batch_limit=20)
    desk.record(3)
    assert await desk.sent(3) == [1, 2, 3]
