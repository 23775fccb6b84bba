"""Server-group messages between this host's guests and controllers.

Best effort, and beside heartbeats: what is lost is counted, and nothing waits for anything here.
A guest's message goes out as soon as it is read; a delivery is written as soon as it comes, if
the guest can hear, and otherwise waits for a bounded time. The next one is written only when
QEMU has taken what was written before: what lies in the socket can't be taken back. Several
controllers may carry one sender's broadcasts: their order is restored here, and what a second
controller tells again is dropped.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Sequence

from reachthru.bus.base import AgentBus
from reachthru.host_agent.channel import Channel
from reachthru.host_agent.engine import Engine
from reachthru.host_agent.group_losses import GroupLosses
from reachthru.host_agent.instance import Instance
from reachthru.protocol.agent_bus import (
    GroupAck,
    GroupBroadcast,
    GroupDelivery,
    GroupNotification,
    GroupQuery,
    GroupStatus,
)
from reachthru.protocol.codec import Received
from reachthru.protocol.faults import FaultKind
from reachthru.protocol.group_port import (
    ANSWER_LIMIT_S,
    BroadcastAsked,
    GroupPolicy,
    GroupPort,
    Lost,
    OutOfPlace,
    StatusAsked,
)
from reachthru.protocol.messages import ServerGroupMessage
from reachthru.protocol.repeats import RecentNotifications
from reachthru.protocol.resequencer import Resequencer

# A reader that keeps up has taken a message within this; it is looked at so often.
HURRY_S = 0.001
HURRIED_TRIES = 5
# One that does not, or a guest that can't hear, is looked at so often.
PATIENCE_S = 0.020

GroupAnswer = GroupAck | GroupDelivery | GroupStatus | GroupNotification


class GroupLine:
    """One guest's core and channel. Stands in the engine's wheel with the core's deadlines."""

    __slots__ = (
        *("_settle", "channel", "core", "epoch", "instance", "retry_at", "sent", "slot", "tries"),
    )

    def __init__(
        self,
        core: GroupPort,
        channel: Channel,
        instance: Instance,
        settle: Callable[["GroupLine", float], None],
    ) -> None:
        self.core = core
        self.channel = channel
        self.instance = instance
        self.slot: int | None = None  # the wheel's
        # What the guest broadcast is counted, for receivers to restore its order.
        self.epoch = secrets.token_hex(8)
        self.sent = 0
        self.retry_at: float | None = None
        self.tries = 0
        self._settle = settle

    def __repr__(self) -> str:
        return f"<group messages of {self.core.owner}>"

    @property
    def hears(self) -> bool:
        """Whether the guest is there and runs, as far as anybody knows."""
        judge = self.instance.judge
        return not judge.excused and FaultKind.HEARTBEAT_LOST not in judge.active_kinds

    def receive(self, received: Received, now: float) -> None:
        """The guest sent something."""
        assert isinstance(received.message, ServerGroupMessage)
        self.core.receive(received.message, received.source_addr, now)
        self._settle(self, now)

    def dropped(self, lines: int, now: float) -> None:
        """So many lines of the guest's were not even read."""
        self.core.flooded(lines, now)
        self._settle(self, now)

    def reset(self) -> None:
        """The port has a new connection."""
        self.core.reset()

    def deadline(self) -> float | None:
        if self.retry_at is None:
            return self.core.deadline()
        return min(self.retry_at, self.core.deadline() or self.retry_at)

    def wake(self, now: float) -> None:
        self.core.wake(now)
        self._settle(self, now)


class GroupRelay:
    """All guests' lines. On the event loop; times are the engine's awake time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, engine: Engine, bus: AgentBus, policy: GroupPolicy
    ) -> None:
        self.losses = GroupLosses(loop)
        # Whether nobody asked for an instance's messages: what it does not get is no loss.
        self.declines: Callable[[str], bool] = lambda _uuid: False
        self._loop = loop
        self._engine = engine
        self._bus = bus
        self._policy = policy
        self._ids = itertools.count(1)
        self._lines: dict[str, GroupLine] = {}  # by instance
        self._askers: dict[int, tuple[GroupLine, float]] = {}  # by id, and until when; oldest first
        self._order: Resequencer[GroupDelivery] = Resequencer()
        self._order_timer: asyncio.TimerHandle | None = None
        self._notified = RecentNotifications()
        self._hurried: dict[GroupLine, None] = {}
        self._hurry: asyncio.TimerHandle | None = None

    def open(self, channel: Channel, instance: Instance) -> GroupLine:
        """For an instance's multiplexed port, when it is found."""
        core = GroupPort(instance.uuid, self._policy, lambda: next(self._ids))
        line = self._lines[instance.uuid] = GroupLine(core, channel, instance, self.settle)
        return line

    def forget(self, line: GroupLine) -> None:
        """The port is no longer on this host."""
        if self._lines.get(line.core.owner) is line:
            del self._lines[line.core.owner]
        self._hurried.pop(line, None)
        self._engine.disarm(line)

    def close(self) -> None:
        self.losses.close()
        for timer in (self._hurry, self._order_timer):
            if timer is not None:
                timer.cancel()

    def take(self, message: GroupAnswer) -> None:
        """What a controller says."""
        now = self._engine.now()
        if isinstance(message, GroupAck):
            self._take_ack(message, now)
        elif isinstance(message, GroupStatus):
            line = self._asker(message.id)
            if line is not None:
                line.core.answered(message.id, message.members, now)
                self.settle(line, now)
        elif isinstance(message, GroupNotification):
            self._deliver(message, self._notified.new_recipients(message), now)
        else:
            self._order.receive(
                *(message.source_instance, message.sender_epoch, message.sender_seq, message, now)
            )
            self._deliver_ordered(now)

    def settle(self, line: GroupLine, now: float) -> None:
        """Carries the core's events, writes what the guest can take, and sees to the rest."""
        for event in line.core.take_events():
            if isinstance(event, BroadcastAsked):
                self._ask(_broadcast(line, event), line, now)
            elif isinstance(event, StatusAsked):
                self._ask(GroupQuery(id=event.id, asker=line.core.owner), line, now)
            elif isinstance(event, Lost):
                self.losses.count(event.sender, event.reason, event.count)
            elif isinstance(event, OutOfPlace):
                line.channel.count_error("out_of_place", event.what)
        self._write(line, now)
        self._engine.arm(line)

    # --- to controllers ----------------------------------------------------------------------

    def _ask(self, message: GroupBroadcast | GroupQuery, line: GroupLine, now: float) -> None:
        if not self._bus.offer(message):
            line.core.unreachable(message.id, now)
            return
        self._engine.expect(line.channel)
        while self._askers and next(iter(self._askers.values()))[1] <= now:
            del self._askers[next(iter(self._askers))]
        self._askers[message.id] = (line, now + ANSWER_LIMIT_S)
        if isinstance(message, GroupBroadcast):
            line.sent = message.sender_seq

    def _asker(self, number: int) -> GroupLine | None:
        """Who asked `number`, once."""
        line, _until = self._askers.pop(number, (None, 0.0))
        return line

    # --- to guests ---------------------------------------------------------------------------

    def _take_ack(self, ack: GroupAck, now: float) -> None:
        for number in ack.taken:
            line = self._asker(number)
            if line is not None:
                line.core.taken(number)
        for refusal in ack.refused:
            line = self._asker(refusal.id)
            if line is not None:
                line.core.refused(refusal.id, refusal.log_msg, now)
                self.settle(line, now)

    def _deliver_ordered(self, now: float) -> None:
        self._order.wake(now)
        for delivery in self._order.take_output():
            self._deliver(delivery, delivery.recipients, now)
        for delivery, reason in self._order.take_dropped():
            self.losses.count(delivery.source_instance, reason, len(delivery.recipients))
        if self._order_timer is not None:
            self._order_timer.cancel()
            self._order_timer = None
        deadline = self._order.deadline()
        if deadline is not None:
            wait_s = max(0.0, deadline - now)
            self._order_timer = self._loop.call_later(
                wait_s, lambda: self._deliver_ordered(self._engine.now())
            )

    def _deliver(
        self, message: GroupDelivery | GroupNotification, recipients: Sequence[str], now: float
    ) -> None:
        for uuid in recipients:
            line = self._lines.get(uuid)
            if line is None:
                if not self.declines(uuid):
                    self.losses.count(_sender(message), "absent")
                continue
            if isinstance(message, GroupDelivery):
                line.core.deliver(message.source_instance, message.data, now)
            else:
                line.core.notify(message, now)
            self.settle(line, now)

    def _write(self, line: GroupLine, now: float) -> None:
        line.retry_at = None
        channel, core = line.channel, line.core
        while core.has_output and line.hears and channel.is_drained:
            line.tries = 0
            for outgoing in core.take_output(channel.base_version):
                channel.write(outgoing.message, outgoing.dest_addr)
        if channel.unsent:
            self._engine.watch_output(channel)
        if not core.has_output:
            return
        line.tries += 1
        if line.tries <= HURRIED_TRIES and line.hears:
            self._hurried[line] = None
            if self._hurry is None:
                self._hurry = self._loop.call_later(HURRY_S, self._hurry_on)
        else:
            line.retry_at = now + PATIENCE_S

    def _hurry_on(self) -> None:
        self._hurry = None
        lines, self._hurried = self._hurried, {}
        now = self._engine.now()
        for line in lines:
            self.settle(line, now)


def _broadcast(line: GroupLine, asked: BroadcastAsked) -> GroupBroadcast:
    return GroupBroadcast(
        id=asked.id,
        sender=line.core.owner,
        data=asked.data,
        sender_epoch=line.epoch,
        sender_seq=line.sent + 1,
    )


def _sender(message: GroupDelivery | GroupNotification) -> str:
    if isinstance(message, GroupDelivery):
        return message.source_instance
    return str(message.payload.get("instance_id", ""))
