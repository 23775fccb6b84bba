"""The guest's end: registers with the host, answers its challenges with the guest's health.

::

    DETACHED --attach--> REGISTERING --init_ack or challenge--> BEATING
        ^                  |  ^  ^                                 |
        +---- detach ------+  |  +------- silence of the host -----+
                              +-- retry

A host that is not heard for a while may have been replaced (a restart, a live migration, a
serial line that can't tell): the guest registers anew, which costs the host nothing.
"""

from collections.abc import Callable
from enum import Enum, auto

from msgspec import Struct

from reachthru.protocol.heartbeat.end import HeartbeatEnd
from reachthru.protocol.heartbeat.events import (
    ActionNotified,
    Attached,
    GuestEvent,
    HostRefused,
    HostSilent,
    Ignored,
)
from reachthru.protocol.messages import (
    LOG_MSG_LIMIT_BYTES,
    NAME_LIMIT_CHARS,
    ActionNotify,
    ActionResponse,
    Challenge,
    ChallengeResponse,
    CorrectiveAction,
    Exit,
    Health,
    HeartbeatMessage,
    HeartbeatNack,
    Init,
    InitAck,
    VoteResult,
    clip_text,
)

RETRY_S = 1.0  # between two `init`s
SILENCE_INTERVALS = 3  # without a challenge, before registering anew ...
SILENCE_MIN_S = 2.0  # ... but not sooner than this


class GuestPolicy(Struct, frozen=True):
    """What this guest asks of its host."""

    name: str
    interval_ms: int
    corrective_action: CorrectiveAction


class State(Enum):
    DETACHED = auto()
    REGISTERING = auto()
    BEATING = auto()
    ENDED = auto()


class Input(Enum):
    ATTACH = auto()
    DETACH = auto()
    INIT_ACK = auto()
    CHALLENGE = auto()
    DEADLINE = auto()
    EXIT = auto()


class GuestHeartbeat(HeartbeatEnd[GuestEvent]):
    """One guest, as it sees itself. `draw_id` gives random ids of 31 bits.

    The shell keeps `healthy` and `log_msg` up to date; an answer never waits for a check.
    """

    def __init__(self, policy: GuestPolicy, draw_id: Callable[[], int]) -> None:
        super().__init__()
        self._policy = policy
        self._draw_id = draw_id
        self._state = State.DETACHED
        self._invocation_id = -1
        self._deadline: float | None = None
        self.healthy = True
        self.log_msg = ""
        self.answered = 0
        self.last_challenge_at: float | None = None

    @property
    def attached(self) -> bool:
        """Whether a host has this guest registered."""
        return self._state is State.BEATING

    # --- the shell's verbs -------------------------------------------------------------------

    def attach(self, now: float) -> None:
        """The host is at the other end of the port."""
        self._step(Input.ATTACH, now, None)

    def detach(self, now: float) -> None:
        """The host has left the port."""
        self._step(Input.DETACH, now, None)

    def exit(self, log_msg: str, now: float) -> None:
        """Says goodbye: the host ends heartbeating with no fault."""
        self._step(Input.EXIT, now, Exit(log_msg=clip_text(log_msg, LOG_MSG_LIMIT_BYTES)))

    def receive(self, message: HeartbeatMessage, now: float) -> None:
        """Feeds one parsed message of the host's."""
        if isinstance(message, Challenge):
            self._step(Input.CHALLENGE, now, message)
        elif isinstance(message, InitAck):
            self._receive_ack(message, now)
        elif isinstance(message, ActionNotify):
            self._receive_notify(message)
        elif isinstance(message, HeartbeatNack):
            self.events.append(HostRefused(clip_text(message.log_msg, LOG_MSG_LIMIT_BYTES)))
        else:
            self.events.append(Ignored(f"{type(message).__name__} from a host"))

    def deadline(self) -> float | None:
        """The earliest moment that `wake` has something to do."""
        return self._deadline

    def wake(self, now: float) -> None:
        """Retries, or finds the host silent, if the deadline has passed."""
        if self._deadline is not None and now >= self._deadline:
            self._step(Input.DEADLINE, now, None)

    # --- transitions -------------------------------------------------------------------------

    def _step(self, what: Input, now: float, message: HeartbeatMessage | None) -> None:
        try:
            self._state, action = _TRANSITIONS[self._state, what]
        except KeyError:
            self.events.append(Ignored(f"{what.name.lower()} while {self._state.name.lower()}"))
            return
        if action is not None:
            action(self, now, message)

    def _send_init(self, now: float, _message: HeartbeatMessage | None) -> None:
        policy = self._policy
        self._invocation_id = self._draw_id()
        self._deadline = now + RETRY_S
        self._send(
            Init(
                invocation_id=self._invocation_id,
                name=clip_text(policy.name, NAME_LIMIT_CHARS),
                heartbeat_interval_ms=policy.interval_ms,
                corrective_action=policy.corrective_action,
            )
        )

    def _begin(self, now: float, _message: HeartbeatMessage | None) -> None:
        self._expect_challenge(now)
        self.events.append(Attached())

    def _begin_and_answer(self, now: float, message: HeartbeatMessage | None) -> None:
        self._begin(now, None)
        self._answer(now, message)

    def _answer(self, now: float, message: HeartbeatMessage | None) -> None:
        assert isinstance(message, Challenge)
        self.answered += 1
        self.last_challenge_at = now
        self._expect_challenge(now)
        self._send(
            ChallengeResponse(
                heartbeat_response=message.heartbeat_challenge,
                heartbeat_health=Health.HEALTHY if self.healthy else Health.UNHEALTHY,
                corrective_action=self._policy.corrective_action,
                log_msg=clip_text(self.log_msg, LOG_MSG_LIMIT_BYTES),
            )
        )

    def _register_anew(self, now: float, _message: HeartbeatMessage | None) -> None:
        self.events.append(HostSilent(self._silence_s))
        self._send_init(now, None)

    def _forget(self, _now: float, _message: HeartbeatMessage | None) -> None:
        self._deadline = None
        self.output.clear()  # what was meant for the host that left

    def _say_goodbye(self, _now: float, message: HeartbeatMessage | None) -> None:
        assert isinstance(message, Exit)
        self._deadline = None
        self._send(message)

    # --- helpers -----------------------------------------------------------------------------

    def _receive_ack(self, message: InitAck, now: float) -> None:
        if message.invocation_id != self._invocation_id:
            self.events.append(Ignored("an acknowledgement of another init"))
            return
        self._step(Input.INIT_ACK, now, message)

    def _receive_notify(self, message: ActionNotify) -> None:
        """No application has a say yet, so the answer is what a guest with no handler says."""
        self.events.append(
            ActionNotified(message.event_type, message.notification_type, message.timeout_ms)
        )
        self._send(
            ActionResponse(
                invocation_id=message.invocation_id,
                event_type=message.event_type,
                notification_type=message.notification_type,
                vote_result=VoteResult.COMPLETE,
            )
        )

    @property
    def _silence_s(self) -> float:
        return max(SILENCE_MIN_S, SILENCE_INTERVALS * self._policy.interval_ms / 1000)

    def _expect_challenge(self, now: float) -> None:
        self._deadline = now + self._silence_s


_Action = Callable[[GuestHeartbeat, float, HeartbeatMessage | None], None]
_G = GuestHeartbeat

_TRANSITIONS: dict[tuple[State, Input], tuple[State, _Action | None]] = {
    (State.DETACHED, Input.ATTACH): (State.REGISTERING, _G._send_init),
    (State.DETACHED, Input.DETACH): (State.DETACHED, None),
    (State.DETACHED, Input.EXIT): (State.ENDED, None),
    # What was already buffered when the host left is still processed (section 1).
    (State.DETACHED, Input.CHALLENGE): (State.DETACHED, None),
    (State.DETACHED, Input.INIT_ACK): (State.DETACHED, None),
    (State.REGISTERING, Input.ATTACH): (State.REGISTERING, None),
    (State.REGISTERING, Input.DETACH): (State.DETACHED, _G._forget),
    (State.REGISTERING, Input.INIT_ACK): (State.BEATING, _G._begin),
    # The acknowledgement was lost, or the host took over a session that it knows.
    (State.REGISTERING, Input.CHALLENGE): (State.BEATING, _G._begin_and_answer),
    (State.REGISTERING, Input.DEADLINE): (State.REGISTERING, _G._send_init),
    (State.REGISTERING, Input.EXIT): (State.ENDED, _G._say_goodbye),
    (State.BEATING, Input.ATTACH): (State.BEATING, None),
    (State.BEATING, Input.DETACH): (State.DETACHED, _G._forget),
    (State.BEATING, Input.INIT_ACK): (State.BEATING, None),
    (State.BEATING, Input.CHALLENGE): (State.BEATING, _G._answer),
    (State.BEATING, Input.DEADLINE): (State.REGISTERING, _G._register_anew),
    (State.BEATING, Input.EXIT): (State.ENDED, _G._say_goodbye),
}
