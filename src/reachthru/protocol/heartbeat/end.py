"""What both ends of a heartbeat do alike: number what they send, and keep it until it is taken."""

from typing import Generic, TypeVar

from reachthru.protocol.messages import HeartbeatMessage

Event = TypeVar("Event")


class HeartbeatEnd(Generic[Event]):
    """`Event`: what this end tells its shell.

    `output` and `events` are there to look at: mostly there is nothing to take.
    """

    __slots__ = ("_sequence", "events", "output")

    def __init__(self) -> None:
        self.output: list[HeartbeatMessage] = []
        self.events: list[Event] = []
        self._sequence = 0

    def take_output(self) -> list[HeartbeatMessage]:
        """Messages to write, in order."""
        output, self.output = self.output, []
        return output

    def take_events(self) -> list[Event]:
        """What happened, in order."""
        events, self.events = self.events, []
        return events

    def _send(self, message: HeartbeatMessage) -> None:
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        message.sequence = self._sequence
        self.output.append(message)
