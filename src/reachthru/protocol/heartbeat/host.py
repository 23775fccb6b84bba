"""The host's end: challenges one guest at the interval that the guest asked for, and judges.

::

    UNREGISTERED --init--> CHALLENGED --right answer--> ANSWERED
                            |  ^  ^                        |
                            |  |  +------- deadline -------+   (the next challenge)
                            +--+ deadline                      (a miss, and the next challenge)

    HELD: a session whose silence is nobody's fault just now (paused, saved, migrated away)

A challenge must be answered before the next one is due. No answer, an answer to an older
challenge and a wrong echo are misses; a late answer is counted and undoes none. A guest that
stays silent is challenged ever more rarely, since what is sent to a hung guest piles up in its
port and comes out bundled when it wakes.
"""

import math
from collections import deque
from collections.abc import Callable
from enum import IntEnum, auto

from msgspec import Struct

from reachthru.protocol.heartbeat.end import HeartbeatEnd
from reachthru.protocol.heartbeat.events import (
    Alive,
    Exited,
    HealthChanged,
    HostEvent,
    Ignored,
    Lost,
    Registered,
    Session,
)
from reachthru.protocol.heartbeat.vote import Vote
from reachthru.protocol.messages import (
    LOG_MSG_LIMIT_BYTES,
    NAME_LIMIT_CHARS,
    ActionNotify,
    ActionResponse,
    Challenge,
    ChallengeResponse,
    EventType,
    Exit,
    Health,
    HeartbeatMessage,
    Init,
    InitAck,
    NotificationType,
    clip_text,
)

PROMPT_MISSES = 32  # so many challenges are sent at the guest's own interval, then ...
SILENT_INTERVAL_S = 10.0  # ... one in this time (or the interval, if that is longer)
_NEVER = -math.inf
EXPIRED_KEPT = 32  # older challenges that are remembered, to tell a late answer from a wrong one


class HostPolicy(Struct, frozen=True):
    """The operator's limits."""

    min_interval_ms: int = 100
    failure_threshold: int = 1  # missed intervals that make a fault


class Counters(Struct):
    """What one guest did since its port was found."""

    answered: int = 0
    missed: int = 0
    late: int = 0
    wrong: int = 0
    ignored: int = 0


# Integers, since they are hashed twice a round trip and a plain Enum hashes its name in Python.
class State(IntEnum):
    UNREGISTERED = auto()
    CHALLENGED = auto()
    ANSWERED = auto()
    HELD = auto()


class Input(IntEnum):
    INIT = auto()
    RIGHT_ANSWER = auto()
    LATE_ANSWER = auto()
    WRONG_ANSWER = auto()
    EXIT = auto()
    DEADLINE = auto()
    HOLD = auto()
    RELEASE = auto()
    DISCONNECT = auto()


class HostHeartbeat(HeartbeatEnd[HostEvent]):
    """One guest, as its host agent sees it. `draw_challenge` gives random 0..CHALLENGE_MAX."""

    __slots__ = (
        "_challenge",
        "_challenged_at",
        "_deadline",
        "_draw_challenge",
        "_expired",
        "_grace_until",
        "_health",
        "_interval_s",
        "_lost",
        "_misses",
        "_policy",
        "_proven",
        "_slowest_s",
        "_state",
        "_vote",
        "counters",
        "last_answer_at",
        "session",
    )

    def __init__(self, policy: HostPolicy, draw_challenge: Callable[[], int]) -> None:
        super().__init__()
        self._policy = policy
        self._draw_challenge = draw_challenge
        self._state = State.UNREGISTERED
        self._deadline: float | None = None
        self._challenge = -1
        self._challenged_at = 0.0
        self._slowest_s = 0.0
        self._expired: deque[int] = deque(maxlen=EXPIRED_KEPT)
        self._grace_until = _NEVER
        self._interval_s = 0.0  # the session's
        self._misses = 0
        self._lost = False
        self._proven = False  # an answer in time since the session began or was lost
        self._health: tuple[str, str] | None = None  # the guest's last word: health, action
        self._vote: Vote | None = None
        self.session: Session | None = None
        self.last_answer_at: float | None = None
        self.counters = Counters()

    # --- the shell's verbs -------------------------------------------------------------------

    def receive(self, message: HeartbeatMessage, now: float) -> None:
        """Feeds one parsed message of the guest's."""
        if isinstance(message, ChallengeResponse):
            echo = message.heartbeat_response
            right = echo == self._challenge
            self._step(Input.RIGHT_ANSWER if right else self._judge_wrong_echo(echo), now, message)
        elif isinstance(message, Init):
            self._step(Input.INIT, now, message)
        elif isinstance(message, Exit):
            self._step(Input.EXIT, now, message)
        elif isinstance(message, ActionResponse):
            self._receive_vote(message)
        else:
            self._ignore(f"{type(message).__name__} from a guest")

    def take_slowest_s(self) -> float:
        """The longest that an answer took since the last call, as seen here; 0.0: none came."""
        slowest_s, self._slowest_s = self._slowest_s, 0.0
        return slowest_s

    def deadline(self) -> float | None:
        """The earliest moment that `wake` has something to do."""
        if self._vote is None:
            return self._deadline
        if self._deadline is None:
            return self._vote.deadline
        return min(self._deadline, self._vote.deadline)

    def wake(self, now: float) -> None:
        """Judges and challenges, if a deadline has passed. Early calls do nothing."""
        if self._deadline is not None and now >= self._deadline:
            self._step(Input.DEADLINE, now, None)
        if self._vote is not None and now >= self._vote.deadline:
            self.events.append(self._vote.time_out())
            self._vote = None

    @property
    def round_trip_s(self) -> float | None:
        """The latest one, until the next challenge is sent."""
        if self._state is not State.ANSWERED or self.last_answer_at is None:
            return None
        took_s = self.last_answer_at - self._challenged_at
        return took_s if took_s >= 0 else None

    def hold(self, now: float) -> None:
        """From here on silence is nobody's fault: no challenge, no deadline."""
        self._step(Input.HOLD, now, None)

    def release(self, now: float) -> None:
        """The guest runs again: it is challenged at once and has a whole interval to answer."""
        self._step(Input.RELEASE, now, None)

    def disconnect(self, now: float) -> None:
        """The port is closed; the session is over."""
        self._step(Input.DISCONNECT, now, None)

    def restore(self, session: Session, now: float, grace_s: float) -> None:
        """Takes over a session of an earlier host agent, whose guest need not register again.

        The guest is challenged as usual, and has `grace_s` before its silence counts.
        """
        self._begin(session)
        self._state = State.CHALLENGED
        self._grace_until = now + grace_s
        self._challenge_next(now, None)

    def notify(
        self, event_type: EventType, kind: NotificationType, timeout_ms: int, now: float
    ) -> int | None:
        """Tells the guest of a lifecycle event; `Voted` follows.

        Returns the invocation id, or None where no guest is registered to be told.
        """
        if self.session is None:
            return None
        notify = ActionNotify(
            invocation_id=self._draw_challenge(),
            event_type=event_type,
            notification_type=kind,
            timeout_ms=timeout_ms,
        )
        self._vote = Vote(notify, now)
        self._send(notify)
        return notify.invocation_id

    # --- transitions -------------------------------------------------------------------------

    def _step(self, what: Input, now: float, message: HeartbeatMessage | None) -> None:
        try:
            self._state, action = _TRANSITIONS[self._state, what]
        except KeyError:
            self._ignore(f"{what.name.lower()} while {self._state.name.lower()}")
            return
        if action is not None:
            action(self, now, message)

    def _register(self, now: float, message: HeartbeatMessage | None) -> None:
        assert isinstance(message, Init)
        asked_ms = message.heartbeat_interval_ms
        session = Session(
            name=clip_text(message.name, NAME_LIMIT_CHARS),
            interval_ms=max(asked_ms, self._policy.min_interval_ms),
            asked_interval_ms=asked_ms,
            corrective_action=message.corrective_action[:NAME_LIMIT_CHARS],
        )
        self._begin(session)
        self.events.append(Registered(session))
        self._send(InitAck(invocation_id=message.invocation_id))
        if self._state is not State.HELD:
            self._challenge_next(now, None)

    def _begin(self, session: Session) -> None:
        self.session = session
        self._interval_s = session.interval_ms / 1000
        self._grace_until = _NEVER
        self._misses = 0
        self._lost = False
        self._proven = False
        self._health = None
        self._forget_challenge()

    def _accept(self, now: float, message: HeartbeatMessage | None) -> None:
        assert isinstance(message, ChallengeResponse)
        self.counters.answered += 1
        self.last_answer_at = now
        took_s = now - self._challenged_at
        self._slowest_s = max(self._slowest_s, took_s)
        self._challenge = -1
        if self._misses:
            self._misses = 0
            self._end_wait(now)
        if not self._proven:
            self._proven = True
            self._lost = False
            self._grace_until = _NEVER
            self.events.append(Alive())
        said = (message.heartbeat_health, message.corrective_action)
        if said != self._health:
            self._health = said
            self.events.append(_health_changed(message))

    def _end_wait(self, now: float) -> None:
        """After a long silence challenges are rare; from its end on they come as usual."""
        if self._deadline is not None:
            self._deadline = min(self._deadline, now + self._interval_s)

    def _miss(self, now: float, message: HeartbeatMessage | None) -> None:
        if now < self._grace_until:
            self._challenge_next(now, message)
            return
        self.counters.missed += 1
        self._misses += 1
        if self._misses >= self._policy.failure_threshold and not self._lost:
            assert self._deadline is not None
            self._lost = True
            self._proven = False
            self.events.append(Lost(self._deadline, self.last_answer_at, self._misses))
        self._challenge_next(now, message)

    def _challenge_next(self, now: float, _message: HeartbeatMessage | None) -> None:
        interval_s = self._interval_s
        if self._misses >= PROMPT_MISSES:
            interval_s = max(interval_s, SILENT_INTERVAL_S)
        self._deadline = now + interval_s
        self._challenged_at = now
        if self._challenge >= 0:
            self._forget_challenge()
        self._challenge = self._draw_challenge()
        self._send(Challenge(heartbeat_challenge=self._challenge))

    def _count_late(self, _now: float, _message: HeartbeatMessage | None) -> None:
        self.counters.late += 1

    def _count_wrong(self, _now: float, _message: HeartbeatMessage | None) -> None:
        self.counters.wrong += 1

    def _exit(self, now: float, message: HeartbeatMessage | None) -> None:
        log_msg = message.log_msg if isinstance(message, Exit) else ""
        self._end(now, None)
        self.events.append(Exited(clip_text(log_msg, LOG_MSG_LIMIT_BYTES)))

    def _end(self, _now: float, _message: HeartbeatMessage | None) -> None:
        self.session = None
        self._deadline = None
        self._health = None
        self._vote = None
        self._forget_challenge()

    def _pause(self, _now: float, _message: HeartbeatMessage | None) -> None:
        self._deadline = None
        self._misses = 0
        self._challenged_at = math.inf  # how long an answer takes from here on says nothing

    # --- helpers -----------------------------------------------------------------------------

    def _judge_wrong_echo(self, echo: int) -> Input:
        return Input.LATE_ANSWER if echo in self._expired else Input.WRONG_ANSWER

    def _forget_challenge(self) -> None:
        if self._challenge >= 0:
            self._expired.append(self._challenge)
        self._challenge = -1

    def _receive_vote(self, message: ActionResponse) -> None:
        outcome = None if self._vote is None else self._vote.receive(message)
        if outcome is None:
            self._ignore("a vote that nobody asked for")
            return
        self._vote = None
        self.events.append(outcome)

    def _ignore(self, what: str) -> None:
        self.counters.ignored += 1
        self.events.append(Ignored(what))


def _health_changed(message: ChallengeResponse) -> HealthChanged:
    word = message.heartbeat_health
    return HealthChanged(
        healthy=word == Health.HEALTHY,
        word=clip_text(word, NAME_LIMIT_CHARS),
        corrective_action=message.corrective_action[:NAME_LIMIT_CHARS],
        log_msg=clip_text(message.log_msg, LOG_MSG_LIMIT_BYTES),
    )


_Action = Callable[[HostHeartbeat, float, HeartbeatMessage | None], None]
_H = HostHeartbeat

_TRANSITIONS: dict[tuple[State, Input], tuple[State, _Action | None]] = {
    (State.UNREGISTERED, Input.INIT): (State.CHALLENGED, _H._register),
    (State.UNREGISTERED, Input.LATE_ANSWER): (State.UNREGISTERED, _H._count_late),
    (State.UNREGISTERED, Input.EXIT): (State.UNREGISTERED, _H._exit),
    (State.UNREGISTERED, Input.HOLD): (State.UNREGISTERED, None),
    (State.UNREGISTERED, Input.RELEASE): (State.UNREGISTERED, None),
    (State.UNREGISTERED, Input.DISCONNECT): (State.UNREGISTERED, None),
    (State.CHALLENGED, Input.INIT): (State.CHALLENGED, _H._register),
    (State.CHALLENGED, Input.RIGHT_ANSWER): (State.ANSWERED, _H._accept),
    (State.CHALLENGED, Input.LATE_ANSWER): (State.CHALLENGED, _H._count_late),
    (State.CHALLENGED, Input.WRONG_ANSWER): (State.CHALLENGED, _H._count_wrong),
    (State.CHALLENGED, Input.EXIT): (State.UNREGISTERED, _H._exit),
    (State.CHALLENGED, Input.DEADLINE): (State.CHALLENGED, _H._miss),
    (State.CHALLENGED, Input.HOLD): (State.HELD, _H._pause),
    (State.CHALLENGED, Input.RELEASE): (State.CHALLENGED, None),
    (State.CHALLENGED, Input.DISCONNECT): (State.UNREGISTERED, _H._end),
    (State.ANSWERED, Input.INIT): (State.CHALLENGED, _H._register),
    (State.ANSWERED, Input.LATE_ANSWER): (State.ANSWERED, _H._count_late),
    (State.ANSWERED, Input.WRONG_ANSWER): (State.ANSWERED, _H._count_wrong),
    (State.ANSWERED, Input.EXIT): (State.UNREGISTERED, _H._exit),
    (State.ANSWERED, Input.DEADLINE): (State.CHALLENGED, _H._challenge_next),
    (State.ANSWERED, Input.HOLD): (State.HELD, _H._pause),
    (State.ANSWERED, Input.RELEASE): (State.ANSWERED, None),
    (State.ANSWERED, Input.DISCONNECT): (State.UNREGISTERED, _H._end),
    (State.HELD, Input.INIT): (State.HELD, _H._register),
    # The answer to the challenge before the pause: it proves life, and asks for nothing.
    (State.HELD, Input.RIGHT_ANSWER): (State.HELD, _H._accept),
    (State.HELD, Input.LATE_ANSWER): (State.HELD, _H._count_late),
    (State.HELD, Input.WRONG_ANSWER): (State.HELD, _H._count_wrong),
    (State.HELD, Input.EXIT): (State.UNREGISTERED, _H._exit),
    (State.HELD, Input.HOLD): (State.HELD, None),
    (State.HELD, Input.RELEASE): (State.CHALLENGED, _H._challenge_next),
    (State.HELD, Input.DISCONNECT): (State.UNREGISTERED, _H._end),
}
