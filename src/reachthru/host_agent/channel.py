"""One guest's port: its socket, its session and the limits on what it may cost.

Everything a guest can do here costs that guest only. Input: so many bytes a tick, so many
messages a second, the rest is dropped unread and counted. Output: one bounded buffer, and no
challenge while it holds anything, since what a hung guest does not read would come out bundled
when it wakes.
"""

import fcntl
import logging
import os
import re
import socket
import struct
import termios
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from reachthru.protocol.codec import Dialect, Received
from reachthru.protocol.errors import NotAskedError, PeerError
from reachthru.protocol.heartbeat.events import HostEvent
from reachthru.protocol.heartbeat.host import HostHeartbeat
from reachthru.protocol.link import Link
from reachthru.protocol.messages import (
    HEARTBEAT_ADDR,
    Challenge,
    Header,
    ServerGroupMessage,
)
from reachthru.protocol.rate import TokenBucket

READ_LIMIT_BYTES = 64 * 1024  # a tick
MESSAGES_PER_S = 200.0
MESSAGE_BURST = 400
ANSWERS_PER_S = 50.0
ANSWER_BURST = 100
UNSENT_LIMIT_BYTES = 8 * 1024
IN_TRANSIT_S = 0.050  # an answer may be read so long after the guest's end was closed
CROWD_LINES = 100  # more than this in one read, and they are skimmed before they are split
FEW_BYTES = 320  # an answer with its envelope; what is shorter can't hold many lines more

# A line that holds this is the guest's sign of life, whatever else it floods us with.
_ANSWER = b'"challenge_response"'
_ANSWER_LINE = re.compile(rb"[^\n]*" + _ANSWER + rb"[^\n]*\n")
_SKIMMED_ANSWERS = 16
_NO_HEARTBEAT = "no heartbeat is asked for; flavor extra spec ha:guest_heartbeat"
_NO_MESSAGES = "no messages are asked for; flavor extra spec ha:server_group_messaging"

_log = logging.getLogger(__name__)
_complaints = TokenBucket(10.0, 100)  # lines in the log, all guests together


class ChannelOwner(Protocol):
    """Who is told of what a guest did."""

    def heard(self, channel: "Channel", events: list[HostEvent], now: float) -> None: ...


class GroupApplication(Protocol):
    """Where a multiplexed port's server-group messages go."""

    def receive(self, received: Received, now: float) -> None: ...

    def dropped(self, lines: int, now: float) -> None: ...

    def reset(self) -> None: ...


class Channel:
    """One port of one instance, across reconnections of its socket."""

    __slots__ = (
        "_answers",
        "_descriptor",
        "_link",
        "_messages",
        "_owner",
        "core",
        "deadline",
        "dropped_lines",
        "group",
        "heartbeats",
        "instance_uuid",
        "peer_errors",
        "port_name",
        "registered_at",
        "slot",
        "sock",
        "unsent",
        "unsent_messages",
    )

    def __init__(
        self,
        instance_uuid: str,
        port_name: str,
        dialect: Dialect,
        core: HostHeartbeat,
        owner: ChannelOwner,
    ) -> None:
        self.instance_uuid = instance_uuid
        self.port_name = port_name
        self.core = core
        self.deadline: Callable[[], float | None] = core.deadline
        # Applications that serve this guest: those that its instance was asked for. A bare port
        # has no group messages.
        self.heartbeats = True
        self.group: GroupApplication | None = None
        self.sock: socket.socket | None = None
        self.slot: int | None = None  # the wheel's
        self.registered_at: float | None = None
        self.dropped_lines = 0
        self.unsent_messages = 0
        self.peer_errors: Counter[str] | None = None  # by reason; None: a guest without errors
        self._owner = owner
        self._link = Link(dialect)
        self._messages = TokenBucket(MESSAGES_PER_S, MESSAGE_BURST)
        self._answers = TokenBucket(ANSWERS_PER_S, ANSWER_BURST)
        self.unsent = b""  # what the socket has not taken yet
        self._descriptor = -1

    def __repr__(self) -> str:
        return f"<{self.port_name} of {self.instance_uuid}>"

    def was_heard_after(self, moment: float) -> bool:
        """Did the guest register or answer after `moment`, so that its end must be open?"""
        if self.registered_at is not None and self.registered_at > moment:
            return True
        answered_at = self.core.last_answer_at
        return answered_at is not None and answered_at > moment + IN_TRANSIT_S

    @property
    def is_drained(self) -> bool:
        """Whether the other end has read everything that was written so far."""
        if self.sock is None or self.unsent:
            return False
        unread = fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(struct.calcsize("i")))
        return not any(unread)

    @property
    def base_version(self) -> int:
        """The one that the guest speaks."""
        return self._link.base_version

    def attach(self, sock: socket.socket) -> None:
        """A new connection: what was half sent or half read belongs to the old one."""
        self.sock = sock
        self._descriptor = sock.fileno()
        self.unsent = b""
        self._link.reset()
        if self.group is not None:
            self.group.reset()

    def detach(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock = None
        self._descriptor = -1
        self.unsent = b""

    def read(self, now: float) -> bool:
        """Takes what the guest sent, within its limits. False: the connection has ended."""
        try:
            data = os.read(self._descriptor, READ_LIMIT_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        if len(data) > FEW_BYTES and data.count(b"\n") > CROWD_LINES:
            data = self._skim(data, now)
        lines = self._link.split(data)
        # One line a tick is less than MESSAGES_PER_S, and need not be counted.
        counted = len(lines) > 1
        for line in lines:
            if counted and not self._may_pass(line, now):
                self._drop(1, now)
            else:
                self._take(line, now)
        core = self.core
        if core.output or core.events:
            self.settle(now)
        return True

    def wake(self, now: float) -> None:
        self.core.wake(now)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Writes what the core wants written, and tells its events."""
        core = self.core
        if core.output:
            for message in core.take_output():
                if isinstance(message, Challenge):
                    self._challenge(message)
                else:
                    self._queue(self._link.encode(message))
        if core.events:
            self._owner.heard(self, core.take_events(), now)

    def write(self, message: ServerGroupMessage, dest_addr: str) -> None:
        """For a channel that is drained: a socket takes what is left over in order."""
        self.unsent += self._link.encode(message, dest_addr)
        self.flush()

    def flush(self) -> None:
        """The socket takes bytes again."""
        self.unsent = self._send(self.unsent)

    def count_error(self, reason: str, text: str) -> None:
        """The first of a kind is logged; the rest are counted, and summed up in reports."""
        if self.peer_errors is None:
            self.peer_errors = Counter()
        self.peer_errors[reason] += 1
        if self.peer_errors[reason] == 1 and _complaints.take(time.monotonic()):
            _log.warning(
                "%s %s: %s: %s; the next ones like it are only counted",
                *(self.instance_uuid, self.port_name, reason, text),
            )

    # --- input -------------------------------------------------------------------------------

    def _may_pass(self, line: bytes | PeerError, now: float) -> bool:
        if isinstance(line, PeerError) or self._messages.take(now):
            return True
        return _ANSWER in line and self._answers.take(now)

    def _take(self, line: bytes | PeerError, now: float) -> None:
        if isinstance(line, bytes):
            received = self._link.parse(line)
            if isinstance(received, Received):
                if self.heartbeats and isinstance(received.message, Header):
                    self.core.receive(received.message, now)
                else:
                    self._receive_other(received, now)
                return
            line = received
        self.count_error(line.reason, str(line))
        self._nack(line, now)

    def _nack(self, error: PeerError, now: float) -> None:
        nack = self._link.refuse(error, now)
        if nack is not None:
            self._queue(nack)

    def _receive_other(self, received: Received, now: float) -> None:
        """All but a heartbeat that is asked for."""
        if received.message.address == HEARTBEAT_ADDR:
            self._decline(received, _NO_HEARTBEAT, now)
        elif self.group is not None:
            self.group.receive(received, now)
        else:
            self._decline(received, _NO_MESSAGES, now)

    def _decline(self, received: Received, why: str, now: float) -> None:
        """Nothing is wrong with the guest: it can't know its flavor. It is told, nobody else is."""
        msg_type = str(type(received.message).__struct_config__.tag)
        self._nack(NotAskedError(why, received.source_addr, msg_type), now)

    def _skim(self, data: bytes, now: float) -> bytes:
        """A crowd of lines, reduced to what may matter, without looking at each.

        What comes before the first newline and after the last one may be parts of longer lines.
        """
        start, end = data.find(b"\n") + 1, data.rfind(b"\n") + 1
        crowd = data[start:end]
        answers = _ANSWER_LINE.findall(crowd)[-_SKIMMED_ANSWERS:] if _ANSWER in crowd else []
        self._drop(crowd.count(b"\n") - len(answers), now)
        return data[:start] + b"".join(answers) + data[end:]

    def _drop(self, lines: int, now: float) -> None:
        if not self.dropped_lines:
            self.count_error("flood", f"more than {MESSAGES_PER_S:g} messages a second, dropped")
        self.dropped_lines += lines
        if self.group is not None:
            self.group.dropped(lines, now)

    # --- output ------------------------------------------------------------------------------

    def _challenge(self, challenge: Challenge) -> None:
        """Now or never: a challenge that waits in a buffer is stale when it arrives."""
        if self.sock is None or self.unsent:
            self.unsent_messages += 1
            return
        line = self._link.encode_challenge(challenge)
        rest = self._send(line)
        if len(rest) < len(line):
            self.unsent = rest  # a line that was begun must be ended
        else:
            self.unsent_messages += 1

    def _queue(self, line: bytes) -> None:
        if self.sock is None or len(self.unsent) + len(line) > UNSENT_LIMIT_BYTES:
            self.unsent_messages += 1
        elif self.unsent:
            self.unsent += line
        else:
            self.unsent = self._send(line)

    def _send(self, data: bytes) -> bytes:
        """What the socket did not take. An error shows up as an end of input, too."""
        try:
            return data[os.write(self._descriptor, data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""
