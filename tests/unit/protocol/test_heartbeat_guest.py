"""The guest's end of the heartbeat."""

from itertools import count

from reachthru.protocol.heartbeat.events import (
    ActionNotified,
    Attached,
    HostRefused,
    HostSilent,
    Ignored,
)
from reachthru.protocol.heartbeat.guest import RETRY_S, GuestHeartbeat, GuestPolicy
from reachthru.protocol.messages import (
    HEARTBEAT_LIMIT_BYTES,
    ActionNotify,
    ActionResponse,
    Challenge,
    ChallengeResponse,
    CorrectiveAction,
    Exit,
    HeartbeatNack,
    Init,
    InitAck,
)


def guest(name: str = "db-1", interval_ms: int = 400) -> GuestHeartbeat:
    numbers = count(500)
    policy = GuestPolicy(name, interval_ms, CorrectiveAction.LOG)
    return GuestHeartbeat(policy, lambda: next(numbers))


def attached(now: float = 0.0) -> GuestHeartbeat:
    core = guest()
    core.attach(now)
    (init,) = core.take_output()
    assert isinstance(init, Init)
    core.receive(InitAck(invocation_id=init.invocation_id), now)
    core.take_events()
    return core


def test_init_is_sent_at_once_and_until_it_is_acknowledged() -> None:
    core = guest()
    core.attach(0.0)
    for retry in range(1, 4):
        core.wake(retry * RETRY_S)
    inits = core.take_output()
    assert [type(init) for init in inits] == [Init] * 4
    assert len({init.sequence for init in inits}) == 4
    last = inits[-1]
    assert isinstance(last, Init)
    core.receive(InitAck(invocation_id=last.invocation_id), 3.1)
    assert core.take_events() == [Attached()]
    core.wake(3.1 + RETRY_S)
    assert core.take_output() == []


def test_a_challenge_is_echoed_with_the_verdict_of_this_moment() -> None:
    core = attached()
    core.healthy, core.log_msg = False, "db: no connection"
    core.receive(Challenge(heartbeat_challenge=4711), 0.1)
    (answer,) = core.take_output()
    assert isinstance(answer, ChallengeResponse)
    assert answer.heartbeat_response == 4711
    assert answer.heartbeat_health == "unhealthy"
    assert answer.corrective_action == "log"
    assert answer.log_msg == "db: no connection"


def test_a_challenge_also_says_that_the_host_knows_this_guest() -> None:
    core = guest()
    core.attach(0.0)
    core.take_output()
    core.receive(Challenge(heartbeat_challenge=1), 0.1)
    assert core.attached
    assert [type(message) for message in core.take_output()] == [ChallengeResponse]


def test_an_acknowledgement_of_an_older_init_is_not_believed() -> None:
    core = guest()
    core.attach(0.0)
    core.receive(InitAck(invocation_id=1), 0.1)
    assert not core.attached


def test_a_silent_host_is_registered_with_anew() -> None:
    core = attached()
    deadline = core.deadline()
    assert deadline is not None
    core.wake(deadline)
    assert [type(message) for message in core.take_output()] == [Init]
    assert [type(event) for event in core.take_events()] == [HostSilent]
    assert not core.attached


def test_a_host_that_left_and_came_back_is_registered_with_at_once() -> None:
    core = attached()
    core.detach(1.0)
    assert core.deadline() is None
    core.attach(60.0)
    assert [type(message) for message in core.take_output()] == [Init]


def test_nothing_is_kept_for_a_host_that_left() -> None:
    core = attached()
    core.receive(Challenge(heartbeat_challenge=1), 0.1)
    core.detach(0.2)
    assert core.take_output() == []
    core.receive(Challenge(heartbeat_challenge=2), 0.3)  # it was still buffered in the port
    assert core.take_output() == []


def test_goodbye_is_said_once_and_ends_it() -> None:
    core = attached()
    core.exit("SIGTERM", 1.0)
    (goodbye,) = core.take_output()
    assert isinstance(goodbye, Exit)
    assert goodbye.log_msg == "SIGTERM"
    core.receive(Challenge(heartbeat_challenge=2), 1.1)
    assert core.take_output() == []


def test_a_refusal_is_told_to_the_shell() -> None:
    core = attached()
    core.receive(HeartbeatNack(log_msg="too many"), 0.1)
    assert core.take_events() == [HostRefused("too many")]


def test_a_vote_with_nobody_to_ask_is_complete() -> None:
    core = attached()
    core.receive(
        ActionNotify(
            invocation_id=9, event_type="reboot", notification_type="revocable", timeout_ms=1000
        ),
        0.1,
    )
    (vote,) = core.take_output()
    assert isinstance(vote, ActionResponse)
    assert (vote.invocation_id, vote.event_type, vote.vote_result) == (9, "reboot", "complete")
    assert core.take_events() == [ActionNotified("reboot", "revocable", 1000)]


def test_a_message_that_only_guests_send_is_ignored() -> None:
    core = attached()
    core.receive(Exit(), 0.1)
    assert [type(event) for event in core.take_events()] == [Ignored]


def test_no_text_makes_a_message_longer_than_field_hosts_take() -> None:
    core = attached()
    core.healthy, core.log_msg = False, '\x00"\\\n' * 1000 + "é" * 1000
    core.receive(Challenge(heartbeat_challenge=2**31 - 2), 0.1)
    (answer,) = core.take_output()
    from reachthru.protocol import codec

    assert len(codec.encode(answer, codec.Dialect.BARE)) <= HEARTBEAT_LIMIT_BYTES
