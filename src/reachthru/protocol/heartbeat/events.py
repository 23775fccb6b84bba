"""What the heartbeat cores tell their shells."""

from msgspec import Struct

from reachthru.protocol.messages import EventType, NotificationType


class Session(Struct, frozen=True):
    """What the guest asked for, as far as the host uses it. `interval_ms` is what it gets."""

    name: str
    interval_ms: int
    asked_interval_ms: int
    corrective_action: str


class Registered(Struct, frozen=True):
    """Host: a guest started a session. A session before it ended with no fault of its own."""

    session: Session


class Alive(Struct, frozen=True):
    """Host: the first answer in time, of a session or after a loss."""


class HealthChanged(Struct, frozen=True):
    """Host: what the guest says of itself, when that differs from its last word."""

    healthy: bool
    word: str  # as the guest said it
    corrective_action: str
    log_msg: str


class Lost(Struct, frozen=True):
    """Host: `misses` intervals in a row without the right answer; said once a loss.

    `deadline` is the moment by which the answer should have been there.
    """

    deadline: float
    last_answer_at: float | None
    misses: int


class Exited(Struct, frozen=True):
    """Host: the guest said goodbye. No fault."""

    log_msg: str


class Voted(Struct, frozen=True):
    """Host: how the guest answered an `action_notify`, or that it did not in time."""

    invocation_id: int
    event_type: str
    refused: bool
    vote_result: str
    log_msg: str


class Ignored(Struct, frozen=True):
    """A message that has no place in this state or on this end; nothing came of it."""

    what: str


HostEvent = Registered | Alive | HealthChanged | Lost | Exited | Voted | Ignored


class Attached(Struct, frozen=True):
    """Guest: the host acknowledged the session, or challenges it."""


class HostSilent(Struct, frozen=True):
    """Guest: no challenge for `silence_s`; registering anew."""

    silence_s: float


class HostRefused(Struct, frozen=True):
    """Guest: a nack, with the host's reason."""

    log_msg: str


class ActionNotified(Struct, frozen=True):
    """Guest: something is about to happen to this instance."""

    event_type: EventType | str
    notification_type: NotificationType | str
    timeout_ms: int


GuestEvent = Attached | HostSilent | HostRefused | ActionNotified | Ignored
