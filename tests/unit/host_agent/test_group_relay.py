"""Broadcasts that several controllers carried are delivered in their senders' order."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from reachthru.bus.memory import MemoryAgentBus
from reachthru.host_agent.group_relay import GroupLine, GroupRelay
from reachthru.protocol.agent_bus import (
    AgentMessage,
    GroupBroadcast,
    GroupDelivery,
    GroupNotification,
)
from reachthru.protocol.codec import Received
from reachthru.protocol.group_port import GroupPolicy
from reachthru.protocol.messages import SERVER_GROUP_ADDR, Broadcast


class Engine:
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def arm(self, _line: Any) -> None: ...

    disarm = watch_output = expect = arm


class Channel:
    """A guest that reads everything at once."""

    base_version = 1
    is_drained = True
    unsent = False

    def __init__(self) -> None:
        self.read: list[Any] = []

    def write(self, message: Any, _dest_addr: str) -> None:
        self.read.append(message)


class Judge:
    excused = False
    active_kinds: frozenset[str] = frozenset()


class Instance:
    def __init__(self, uuid: str) -> None:
        self.uuid, self.judge = uuid, Judge()


class Bus(MemoryAgentBus):
    def __init__(self) -> None:
        super().__init__("memory://relay", "compute-0")
        self.reachable = True
        self.offered: list[AgentMessage] = []

    def offer(self, message: AgentMessage) -> bool:
        if self.reachable:
            self.offered.append(message)
        return self.reachable


class Desk:
    def __init__(self) -> None:
        self.bus = Bus()
        loop = asyncio.get_running_loop()
        self.relay = GroupRelay(loop, Engine(), self.bus, GroupPolicy())  # type: ignore[arg-type]

    def open(self, uuid: str) -> GroupLine:
        return self.relay.open(Channel(), Instance(uuid))  # type: ignore[arg-type]

    def deliver(self, *seqs: int, recipients: tuple[str, ...] = ("r",)) -> None:
        for seq in seqs:
            delivery = GroupDelivery(
                source_instance="s",
                recipients=list(recipients),
                data=str(seq),
                sender_epoch="e",
                sender_seq=seq,
            )
            self.relay.take(delivery)

    def say(self, line: GroupLine, data: str) -> None:
        now = asyncio.get_running_loop().time()
        line.receive(Received(Broadcast(data=data), SERVER_GROUP_ADDR, 1), now)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    desk.relay.close()


def heard(line: GroupLine) -> list[str]:
    return [message.data for message in line.channel.read]  # type: ignore[attr-defined]


async def test_a_guest_hears_a_senders_messages_in_order_and_a_gap_only_delays_them(
    desk: Desk,
) -> None:
    line = desk.open("r")
    desk.deliver(1, 3, 2, 6)
    assert heard(line) == ["1", "2", "3"]
    async with asyncio.timeout(1):
        while heard(line) != ["1", "2", "3", "6"]:
            await asyncio.sleep(0.002)


async def test_what_is_late_or_repeated_is_counted_for_its_sender_and_each_recipient(
    desk: Desk,
) -> None:
    line, _other = desk.open("r"), desk.open("q")
    desk.deliver(1, 1, 3, recipients=("r", "q"))
    await asyncio.sleep(0.1)
    desk.deliver(2, recipients=("r", "q"))
    assert heard(line) == ["1", "3"]
    assert desk.relay.losses.totals == {"s": {"repeated": 2, "late": 2}}


async def test_what_a_guest_broadcasts_is_counted_from_one_within_an_epoch_of_its_port(
    desk: Desk,
) -> None:
    line = desk.open("s")
    desk.say(line, "one")
    desk.bus.reachable = False
    desk.say(line, "lost here, so that nobody waits for it")
    desk.bus.reachable = True
    desk.say(line, "two")
    desk.relay.forget(line)
    desk.say(desk.open("s"), "after the port was gone")
    sent = [message for message in desk.bus.offered if isinstance(message, GroupBroadcast)]
    assert [(one.data[:3], one.sender_seq) for one in sent] == [("one", 1), ("two", 2), ("aft", 1)]
    assert sent[0].sender_epoch == sent[1].sender_epoch
    assert sent[2].sender_epoch not in ("", sent[0].sender_epoch)


async def test_a_change_of_state_that_is_told_again_is_heard_once(desk: Desk) -> None:
    line = desk.open("r")
    for timestamp in ("t1", "t1", "t2"):
        desk.relay.take(
            GroupNotification(
                recipients=["r"],
                event_type="compute.instance.update",
                priority="ERROR",
                timestamp=timestamp,
                payload={"instance_id": "m"},
            )
        )
    assert len(heard(line)) == 2
    assert desk.relay.losses.totals == {}
