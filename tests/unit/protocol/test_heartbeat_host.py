"""The host's end of the heartbeat, an hour in a millisecond."""

from collections.abc import Iterator
from itertools import count

import pytest

from reachthru.protocol.heartbeat.events import (
    Alive,
    Exited,
    HealthChanged,
    HostEvent,
    Ignored,
    Lost,
    Registered,
    Session,
    Voted,
)
from reachthru.protocol.heartbeat.host import (
    PROMPT_MISSES,
    SILENT_INTERVAL_S,
    HostHeartbeat,
    HostPolicy,
)
from reachthru.protocol.messages import (
    ActionNotify,
    ActionResponse,
    Challenge,
    ChallengeResponse,
    EventType,
    Exit,
    Init,
    InitAck,
    NotificationType,
)

INTERVAL_S = 1.0


class Guest:
    """A guest under the test's hand, and the core that judges it."""

    def __init__(self, **policy: int) -> None:
        self._numbers: Iterator[int] = count(1000)
        self.core = HostHeartbeat(HostPolicy(**policy), lambda: next(self._numbers))
        self.challenges: list[Challenge] = []
        self.events: list[HostEvent] = []

    def register(self, now: float = 0.0, interval_ms: int = 1000, invocation_id: int = 1) -> None:
        self.core.receive(
            Init(invocation_id=invocation_id, heartbeat_interval_ms=interval_ms, name="db-1"), now
        )
        self.collect()

    def answer(
        self, now: float, echo: int | None = None, health: str = "healthy", action: str = "log"
    ) -> None:
        echo = self.challenges[-1].heartbeat_challenge if echo is None else echo
        self.core.receive(
            ChallengeResponse(
                heartbeat_response=echo,
                heartbeat_health=health,
                corrective_action=action,
                log_msg="disk full" if health != "healthy" else "",
            ),
            now,
        )
        self.collect()

    def wake(self, now: float) -> None:
        self.core.wake(now)
        self.collect()

    def collect(self) -> None:
        self.events += self.core.take_events()
        self.challenges += [m for m in self.core.take_output() if isinstance(m, Challenge)]

    def seen(self, kind: type) -> list[HostEvent]:
        return [event for event in self.events if isinstance(event, kind)]


def test_init_is_acknowledged_and_challenged_at_once() -> None:
    guest = Guest()
    guest.core.receive(Init(invocation_id=77, heartbeat_interval_ms=1000), 5.0)
    ack, challenge = guest.core.take_output()
    assert isinstance(ack, InitAck)
    assert ack.invocation_id == 77
    assert isinstance(challenge, Challenge)
    assert guest.core.deadline() == 6.0


def test_an_answered_guest_is_challenged_once_an_interval_and_never_blamed() -> None:
    guest = Guest()
    guest.register()
    for second in range(1, 3601):
        guest.answer(second - 0.5)
        guest.wake(float(second))
    assert len(guest.challenges) == 3601
    assert guest.seen(Lost) == []
    assert guest.core.counters.answered == 3600


def test_a_guest_that_hangs_right_after_an_answer_is_lost_within_two_intervals() -> None:
    guest = Guest()
    guest.register(now=0.0)
    guest.answer(0.01)
    guest.wake(1.0)
    guest.wake(2.0)
    (lost,) = guest.seen(Lost)
    assert lost == Lost(deadline=2.0, last_answer_at=0.01, misses=1)


def test_a_loss_is_said_once_and_ends_with_an_answer_in_time() -> None:
    guest = Guest()
    guest.register()
    guest.answer(0.1)
    for second in range(1, 10):
        guest.wake(float(second))
    assert len(guest.seen(Lost)) == 1
    guest.answer(9.5)
    assert [type(event) for event in guest.events] == [
        Registered,
        Alive,
        HealthChanged,
        Lost,
        Alive,
    ]


def test_the_threshold_is_so_many_misses_in_a_row() -> None:
    guest = Guest(failure_threshold=3)
    guest.register()
    guest.wake(1.0)
    guest.wake(2.0)
    guest.answer(2.5)  # ends the row
    for second in range(3, 6):
        guest.wake(float(second))
    assert guest.seen(Lost) == []
    guest.wake(6.0)
    (lost,) = guest.seen(Lost)
    assert isinstance(lost, Lost)
    assert lost.misses == 3


def test_a_late_answer_is_counted_and_undoes_no_miss() -> None:
    guest = Guest()
    guest.register()
    first = guest.challenges[0].heartbeat_challenge
    guest.wake(1.0)
    guest.answer(1.1, echo=first)
    assert len(guest.seen(Lost)) == 1
    assert guest.seen(Alive) == []
    assert guest.core.counters.late == 1


def test_the_slowest_answer_is_told_once() -> None:
    guest = Guest()
    guest.register(now=0.0)
    assert guest.core.take_slowest_s() == 0.0
    guest.answer(now=0.2)
    guest.wake(now=1.0)
    guest.answer(now=1.05)
    assert guest.core.take_slowest_s() == pytest.approx(0.2)
    assert guest.core.take_slowest_s() == 0.0


def test_an_answer_that_a_pause_held_up_was_not_slow() -> None:
    guest = Guest()
    guest.register(now=0.0)
    guest.core.hold(now=0.1)
    guest.answer(now=3600.0)
    assert guest.core.take_slowest_s() == 0.0


def test_a_forged_answer_is_rejected_and_counted() -> None:
    guest = Guest()
    guest.register()
    guest.answer(0.5, echo=424242)
    guest.wake(1.0)
    assert len(guest.seen(Lost)) == 1
    assert guest.core.counters.wrong == 1


def test_the_same_answer_twice_counts_once() -> None:
    guest = Guest()
    guest.register()
    guest.answer(0.1)
    guest.answer(0.2)
    assert guest.core.counters.answered == 1


def test_a_right_answer_after_an_old_one_is_good() -> None:
    guest = Guest(failure_threshold=2)
    guest.register()
    guest.wake(1.0)
    guest.answer(1.1, echo=guest.challenges[0].heartbeat_challenge)
    guest.answer(1.2)
    guest.wake(2.0)
    assert guest.core.counters.missed == 1
    assert guest.seen(Lost) == []


def test_unhealthy_is_said_at_once_and_once() -> None:
    guest = Guest()
    guest.register()
    guest.answer(0.1)
    for second in (1, 2, 3):
        guest.wake(float(second))
        guest.answer(second + 0.1, health="unhealthy")
    changes = guest.seen(HealthChanged)
    assert changes[1:] == [HealthChanged(False, "unhealthy", "log", "disk full")]


def test_a_word_that_is_not_healthy_counts_as_unhealthy() -> None:
    guest = Guest()
    guest.register()
    guest.answer(0.1, health="so-so")
    (change,) = guest.seen(HealthChanged)
    assert change == HealthChanged(False, "so-so", "log", "disk full")


def test_exit_ends_heartbeating_with_no_fault() -> None:
    guest = Guest()
    guest.register()
    guest.core.receive(Exit(log_msg="bye"), 0.5)
    guest.collect()
    assert guest.events[-1] == Exited("bye")
    assert guest.core.deadline() is None
    guest.wake(100.0)
    assert guest.seen(Lost) == []


def test_a_new_init_starts_a_new_session_with_no_fault_of_its_own() -> None:
    guest = Guest()
    guest.register(now=0.0)
    guest.register(now=0.9, interval_ms=500, invocation_id=2)
    assert guest.core.deadline() == pytest.approx(1.4)
    guest.answer(1.0)
    assert guest.seen(Lost) == []
    assert len(guest.seen(Registered)) == 2


def test_an_interval_below_the_floor_is_raised_and_the_event_says_so() -> None:
    guest = Guest(min_interval_ms=100)
    guest.register(interval_ms=1)
    (registered,) = guest.seen(Registered)
    assert registered == Registered(Session("db-1", 100, 1, "unknown"))


def test_a_held_guest_is_neither_challenged_nor_blamed() -> None:
    guest = Guest()
    guest.register()
    guest.answer(0.1)
    guest.core.hold(0.5)
    assert guest.core.deadline() is None
    guest.wake(3600.0)
    guest.core.release(3600.0)
    guest.collect()
    assert guest.core.deadline() == 3601.0
    guest.answer(3600.9)
    assert guest.seen(Lost) == []


def test_a_guest_released_into_silence_is_lost_after_a_whole_interval() -> None:
    guest = Guest()
    guest.register()
    guest.core.hold(0.5)
    guest.core.release(10.0)
    guest.wake(10.99)
    assert guest.seen(Lost) == []
    guest.wake(11.0)
    assert len(guest.seen(Lost)) == 1


def test_a_silent_guest_is_challenged_ever_more_rarely() -> None:
    guest = Guest()
    guest.register(interval_ms=100)
    now = 0.0
    while now < 1000.0:
        deadline = guest.core.deadline()
        assert deadline is not None
        now = deadline
        guest.wake(now)
    assert len(guest.challenges) <= PROMPT_MISSES + 1000 / SILENT_INTERVAL_S + 1


def test_a_guest_that_wakes_after_hours_is_well_at_its_first_right_answer() -> None:
    guest = Guest()
    guest.register()
    for _ in range(100):
        deadline = guest.core.deadline()
        assert deadline is not None
        guest.wake(deadline)
    for old in guest.challenges[:-1]:  # its port was full of them
        guest.answer(deadline + 0.1, echo=old.heartbeat_challenge)
    assert guest.seen(Alive) == []
    guest.answer(deadline + 0.2)
    assert guest.seen(Alive) == [Alive()]


def test_a_restored_session_is_challenged_without_a_registration() -> None:
    guest = Guest()
    guest.core.restore(Session("db-1", 1000, 1000, "log"), now=50.0, grace_s=10.0)
    guest.collect()
    assert len(guest.challenges) == 1
    guest.answer(50.1)
    assert guest.seen(Alive) == [Alive()]
    guest.wake(51.0)
    guest.wake(52.0)  # and from here on it is judged as any other
    assert len(guest.seen(Lost)) == 1


def test_a_restored_session_is_challenged_as_usual_and_blamed_only_after_the_grace() -> None:
    guest = Guest()
    guest.core.restore(Session("db-1", 1000, 1000, "log"), now=50.0, grace_s=10.0)
    guest.collect()
    for second in range(51, 60):
        guest.wake(float(second))
    assert len(guest.challenges) == 10
    assert guest.seen(Lost) == []
    guest.wake(60.0)
    assert guest.seen(Lost) == [Lost(deadline=60.0, last_answer_at=None, misses=1)]


def test_a_guest_that_answers_after_a_long_silence_is_challenged_as_usual_again() -> None:
    guest = Guest()
    guest.register()
    moment = 0.0
    for _ in range(PROMPT_MISSES + 3):
        moment = guest.core.deadline() or moment
        guest.wake(moment)
    assert guest.core.deadline() == moment + SILENT_INTERVAL_S
    guest.answer(moment + 0.5)
    assert guest.core.deadline() == moment + 1.5


def test_a_message_out_of_place_is_an_event_and_nothing_more() -> None:
    guest = Guest()
    guest.core.receive(ChallengeResponse(heartbeat_response=1, heartbeat_health="healthy"), 0.0)
    guest.core.receive(InitAck(invocation_id=1), 0.0)
    guest.core.receive(
        ActionResponse(
            invocation_id=1, event_type="stop", notification_type="revocable", vote_result="accept"
        ),
        0.0,
    )
    guest.collect()
    assert [type(event) for event in guest.events] == [Ignored] * 3
    assert guest.core.counters.ignored == 3


@pytest.mark.parametrize(
    ("kind", "result", "refused"),
    [
        (NotificationType.REVOCABLE, "reject", True),
        (NotificationType.REVOCABLE, "accept", False),
        (NotificationType.REVOCABLE, "complete", False),
        (NotificationType.REVOCABLE, "nonsense", False),
        (NotificationType.IRREVOCABLE, "reject", False),
    ],
)
def test_only_a_reject_of_something_revocable_refuses(
    kind: NotificationType, result: str, refused: bool
) -> None:
    guest = Guest()
    guest.register()
    vote_id = guest.core.notify(EventType.STOP, kind, 5000, now=0.1)
    (notify,) = [m for m in guest.core.take_output() if isinstance(m, ActionNotify)]
    guest.core.receive(
        ActionResponse(
            invocation_id=notify.invocation_id,
            event_type="stop",
            notification_type=kind,
            vote_result=result,
        ),
        0.2,
    )
    guest.collect()
    (voted,) = guest.seen(Voted)
    assert isinstance(voted, Voted)
    assert (voted.invocation_id, voted.refused) == (vote_id, refused)


def test_no_vote_in_time_counts_as_accept() -> None:
    guest = Guest()
    guest.register(interval_ms=60_000)
    guest.core.notify(EventType.REBOOT, NotificationType.REVOCABLE, 5000, now=1.0)
    assert guest.core.deadline() == 6.0
    guest.wake(6.0)
    (voted,) = guest.seen(Voted)
    assert isinstance(voted, Voted)
    assert not voted.refused
    assert voted.vote_result == "timeout"


def test_nobody_votes_where_no_guest_is_registered() -> None:
    guest = Guest()
    assert guest.core.notify(EventType.STOP, NotificationType.REVOCABLE, 1000, now=0.0) is None
