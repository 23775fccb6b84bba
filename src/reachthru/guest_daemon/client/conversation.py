"""The door's language as its clients speak it: bytes in, answers and events out. No IO."""

from collections import deque
from typing import Any

import msgspec
from msgspec import Struct

from reachthru.guest_daemon.errors import DoorError

DEFAULT_PATH = "/run/reachthru/guest.sock"
TIMEOUT_S = 5.0
LINE_LIMIT_BYTES = 1 << 20
EVENTS_LIMIT = 1024  # kept while the application does not ask for them

Answer = dict[str, Any]


class _AnyEvent(Struct, frozen=True, tag_field="event"):
    pass


class Broadcast(_AnyEvent, frozen=True, tag="broadcast"):
    """From another VM of the group. `source_instance` is opaque and unique."""

    source_instance: str
    data: str


class Notification(_AnyEvent, frozen=True, tag="notification"):
    """Another VM of the group has changed its state.

    `status` has the keys of Nova's legacy instance notification, as far as the host tells them:
    `instance_id`, `display_name`, `state`, ... The others are None where the host does not say.
    """

    status: dict[str, Any]
    event_type: str | None = None
    priority: str | None = None
    timestamp: str | None = None


class Refused(_AnyEvent, frozen=True, tag="refused"):
    """The host has refused a message; `id` is what `broadcast` gave, if it is known which."""

    orig_msg_type: str
    log_msg: str
    id: int | None = None


class Dropped(_AnyEvent, frozen=True, tag="dropped"):
    """Events came faster than they were read: so many are lost, older than what follows."""

    count: int


Event = Broadcast | Notification | Refused | Dropped


class Members(Struct, frozen=True):
    """Every VM of the group, this one too; `problem` says why that is not all of them."""

    all: list[dict[str, Any]]
    problem: str | None = None


_answer_decoder = msgspec.json.Decoder(Answer)
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class Conversation:
    """One connection's. Raises `DoorError` for what is no guest daemon's."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.events: deque[Event] = deque()
        self.answers: deque[Answer] = deque()
        self._received = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        """Bytes of the daemon's; see `answers` and `events`."""
        self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        if len(rest) > LINE_LIMIT_BYTES:
            raise DoorError(f"{self.path}: the daemon's answer has no end")
        for line in filter(None, lines):
            self._take(bytes(line))

    def take_event(self) -> Event | None:
        """The next one. What was dropped here comes before what is left."""
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return Dropped(dropped)
        return self.events.popleft() if self.events else None

    def check(self, answer: Answer) -> Answer:
        """Raises `DoorError` with the daemon's words if it refuses."""
        if not answer.get("ok"):
            raise DoorError(f"{self.path}: {answer.get('error', 'refused')}")
        return answer

    def _take(self, line: bytes) -> None:
        try:
            found = _answer_decoder.decode(line)
            if "event" not in found:
                self.answers.append(found)
                return
            event = _event_decoder.decode(line)
        except msgspec.DecodeError as error:
            raise DoorError(
                f"{self.path}: what answers there is no reachthru-guest: {error}"
            ) from error
        if len(self.events) >= EVENTS_LIMIT:
            self.events.popleft()
            self._dropped += 1
        self.events.append(event)


def encode_request(op: str, fields: dict[str, Any]) -> bytes:
    """Raises `DoorError` for text that UTF-8 can't hold."""
    try:
        return msgspec.json.encode({"op": op, **fields}) + b"\n"
    except UnicodeEncodeError as error:
        raise DoorError(f"not text that UTF-8 can hold: {error.reason}") from error


def read_members(answer: Answer) -> Members:
    problem = None if answer.get("complete") else str(answer.get("error", "incomplete"))
    return Members(answer["members"], problem)
