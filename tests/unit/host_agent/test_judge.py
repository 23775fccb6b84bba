"""Who is blamed for what, and what makes it good again."""

from itertools import count

import pytest

from reachthru.host_agent.judge import SETTLE_S, Change, Judge
from reachthru.protocol.faults import EXCUSED, Condition, FaultKind, FaultStatus
from reachthru.protocol.heartbeat.events import (
    Alive,
    Exited,
    HealthChanged,
    Lost,
    Registered,
    Session,
)

PORT = "cgcs.messaging"
OTHER_PORT = "cgcs.heartbeat"
SESSION = Session(name="db-1", interval_ms=1000, asked_interval_ms=1000, corrective_action="reboot")
LOST = Lost(deadline=10.0, last_answer_at=8.5, misses=1)
RAISED, CLEARED = FaultStatus.RAISED, FaultStatus.CLEARED


class Case:
    """One instance, with its history as the claims want it."""

    def __init__(self, *, limit_s: float = 0.0, active: dict[FaultKind, str] | None = None) -> None:
        ids = count(1)
        self.judge = Judge(
            lambda: f"id-{next(ids)}",
            registration_limit_s=limit_s,
            active=(active or {}).items(),
        )

    def changes(self) -> list[tuple[FaultStatus, FaultKind, str]]:
        return [(c.status, c.kind, c.fault_id) for c in self.full_changes()]

    def full_changes(self) -> list[Change]:
        return self.judge.take_changes()

    def running(self, now: float = 0.0) -> "Case":
        self.judge.become(Condition.RUNNING, now)
        return self

    def registered(self, port: str = PORT) -> "Case":
        self.judge.heard(port, Registered(SESSION))
        self.judge.heard(port, Alive())
        self.judge.take_changes()
        return self

    def unwell(self, action: str, log_msg: str = "disk full", word: str = "unhealthy") -> None:
        self.judge.heard(PORT, HealthChanged(False, word, action, log_msg))

    def well(self) -> None:
        self.judge.heard(PORT, HealthChanged(True, "healthy", "log", ""))


def registered() -> Case:
    return Case().running().registered()


# --- heartbeat_lost -------------------------------------------------------------------------


def test_a_silent_guest_is_a_fault_with_what_is_known_of_it() -> None:
    case = registered()
    case.judge.heard(PORT, LOST)
    (change,) = case.full_changes()
    assert (change.status, change.kind) == (RAISED, FaultKind.HEARTBEAT_LOST)
    assert (change.fact.deadline, change.fact.last_good) == (10.0, 8.5)
    assert change.fact.corrective_action == "reboot"


def test_a_guest_that_answers_again_clears_its_fault_under_the_same_id() -> None:
    case = registered()
    case.judge.heard(PORT, LOST)
    case.judge.heard(PORT, Alive())
    case.judge.heard(PORT, LOST)
    assert case.changes() == [
        (RAISED, FaultKind.HEARTBEAT_LOST, "id-1"),
        (CLEARED, FaultKind.HEARTBEAT_LOST, "id-1"),
        (RAISED, FaultKind.HEARTBEAT_LOST, "id-2"),
    ]


def test_a_loss_is_raised_once_however_often_it_is_said() -> None:
    case = registered()
    case.judge.heard(PORT, LOST)
    case.judge.heard(PORT, LOST)
    assert len(case.changes()) == 1


def test_with_two_ports_the_fault_stands_until_both_answer() -> None:
    case = registered().registered(OTHER_PORT)
    case.judge.heard(PORT, LOST)
    case.judge.heard(OTHER_PORT, LOST)
    assert len(case.changes()) == 1
    case.judge.heard(PORT, Alive())
    assert case.changes() == []
    case.judge.heard(OTHER_PORT, Alive())
    assert case.changes() == [(CLEARED, FaultKind.HEARTBEAT_LOST, "id-1")]


def test_a_goodbye_ends_a_loss() -> None:
    case = registered()
    case.judge.heard(PORT, LOST)
    case.judge.heard(PORT, Exited("bye"))
    assert case.changes()[-1] == (CLEARED, FaultKind.HEARTBEAT_LOST, "id-1")


@pytest.mark.parametrize(
    "condition",
    [
        Condition.IO_ERROR,
        Condition.CRASHED,
        Condition.POST_COPY_FAILED,
        Condition.PAUSED_UNKNOWN,
    ],
)
def test_what_stopped_a_silent_guest_is_named(condition: Condition) -> None:
    case = registered()
    case.judge.become(condition, 1.0)
    assert not case.judge.excused
    case.judge.heard(PORT, LOST)
    (change,) = case.full_changes()
    assert str(condition) in change.fact.detail


# --- unhealthy ------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["log", "reboot", "stop"])
def test_unhealthy_is_a_fault_at_once_with_the_guest_s_reason(action: str) -> None:
    case = registered()
    case.unwell(action)
    (change,) = case.full_changes()
    assert (change.status, change.kind) == (RAISED, FaultKind.UNHEALTHY)
    assert (change.fact.detail, change.fact.corrective_action) == ("disk full", action)


@pytest.mark.parametrize("action", ["none", "unknown", "dance"])
def test_unhealthy_that_asks_for_nothing_is_not_reported(action: str) -> None:
    case = registered()
    case.unwell(action)
    assert case.changes() == []


def test_a_health_that_nobody_knows_is_quoted() -> None:
    case = registered()
    case.unwell("log", word="so-so")
    assert "so-so" in case.full_changes()[0].fact.detail


@pytest.mark.parametrize("ending", ["well", "exit"])
def test_unhealthy_ends_with_health_or_a_goodbye(ending: str) -> None:
    case = registered()
    case.unwell("log")
    if ending == "well":
        case.well()
    else:
        case.judge.heard(PORT, Exited(""))
    assert case.changes()[-1] == (CLEARED, FaultKind.UNHEALTHY, "id-1")


# --- guest_daemon_lost ----------------------------------------------------------------------


def test_a_port_that_closes_under_a_session_is_a_fault_after_the_settle_time() -> None:
    case = registered()
    case.judge.port_closed(PORT, 5.0, 5.0)
    assert case.judge.deadline() == 5.0 + SETTLE_S
    case.judge.wake(5.0 + SETTLE_S - 0.001)
    assert case.changes() == []
    case.judge.wake(5.0 + SETTLE_S)
    (change,) = case.full_changes()
    assert (change.kind, change.fact.deadline) == (FaultKind.GUEST_DAEMON_LOST, 5.0)
    assert case.judge.deadline() is None


def test_a_new_daemon_that_answers_clears_the_loss_of_the_old_one() -> None:
    case = registered()
    case.judge.port_closed(PORT, 5.0, 5.0)
    case.judge.wake(6.0)
    case.judge.heard(PORT, Registered(SESSION))
    assert case.changes() == [(RAISED, FaultKind.GUEST_DAEMON_LOST, "id-1")]
    case.judge.heard(PORT, Alive())
    assert case.changes() == [(CLEARED, FaultKind.GUEST_DAEMON_LOST, "id-1")]


def test_a_port_that_closes_after_a_goodbye_or_without_a_session_is_nothing() -> None:
    case = registered()
    case.judge.heard(PORT, Exited("bye"))
    case.judge.port_closed(PORT, 5.0, 5.0)
    case.judge.port_closed(OTHER_PORT, 5.0, 5.0)
    assert case.judge.deadline() is None
    case.judge.wake(9.0)
    assert case.changes() == []


@pytest.mark.parametrize("condition", sorted(EXCUSED))
@pytest.mark.parametrize("first", ["port", "condition"])
def test_a_port_that_an_excused_instance_closes_is_nothing(
    condition: Condition, first: str
) -> None:
    case = registered()
    if first == "port":
        case.judge.port_closed(PORT, 5.0, 5.0)
        case.judge.become(condition, 5.01)
    else:
        case.judge.become(condition, 5.0)
        case.judge.port_closed(PORT, 5.01, 5.01)
    case.judge.wake(9.0)
    assert case.changes() == []


@pytest.mark.parametrize("first", ["port", "reset"])
def test_a_reset_loses_no_daemon(first: str) -> None:
    case = registered()
    if first == "port":
        case.judge.port_closed(PORT, 5.0, 5.0)
    case.judge.rebooted(5.01)
    case.judge.port_closed(PORT, 5.02, 5.02)
    case.judge.wake(9.0)
    assert case.changes() == []


# --- instance_lost --------------------------------------------------------------------------


def test_qemu_gone_is_one_fault_and_explains_the_closed_port() -> None:
    case = registered()
    case.judge.port_closed(PORT, 5.0, 5.0)
    case.judge.gone("QEMU exited", 5.01)
    case.judge.gone("QEMU exited", 5.02)
    case.judge.wake(9.0)
    assert case.changes() == [(RAISED, FaultKind.INSTANCE_LOST, "id-1")]


def test_an_instance_that_ran_and_never_registered_is_lost_too_until_it_runs_again() -> None:
    case = Case().running()
    case.judge.gone("QEMU exited", 5.0)
    case.judge.become(Condition.RUNNING, 9.0)
    assert case.changes() == [
        (RAISED, FaultKind.INSTANCE_LOST, "id-1"),
        (CLEARED, FaultKind.INSTANCE_LOST, "id-1"),
    ]


def test_a_lost_instance_whose_guest_registered_must_answer_again() -> None:
    case = registered()
    case.judge.gone("QEMU exited", 5.0)
    case.judge.become(Condition.STARTING_UP, 8.0)
    case.judge.become(Condition.RUNNING, 9.0)
    assert case.changes() == [(RAISED, FaultKind.INSTANCE_LOST, "id-1")]
    case.registered()
    assert case.judge.active_kinds == frozenset()


def test_an_instance_that_nobody_ever_saw_running_is_not_lost() -> None:
    case = Case()
    case.judge.gone("no listener", 5.0)
    assert case.changes() == []


@pytest.mark.parametrize("condition", [Condition.SHUTTING_DOWN, Condition.SHUT_OFF])
def test_qemu_that_ends_in_a_shutdown_was_asked_to(condition: Condition) -> None:
    case = registered()
    case.judge.become(condition, 5.0)
    case.judge.gone("QEMU exited", 5.1)
    assert case.changes() == []
    assert case.judge.condition is Condition.SHUT_OFF


@pytest.mark.parametrize("condition", [Condition.PAUSED_BY_USER, Condition.MIGRATING])
def test_qemu_that_dies_under_a_paused_instance_is_a_fault(condition: Condition) -> None:
    case = registered()
    case.judge.become(condition, 5.0)
    case.judge.gone("QEMU exited", 5.1)
    assert case.changes() == [(RAISED, FaultKind.INSTANCE_LOST, "id-1")]


# --- never_registered -----------------------------------------------------------------------


def test_without_a_limit_a_slow_boot_is_never_a_fault() -> None:
    case = Case().running()
    assert case.judge.deadline() is None


def test_a_guest_that_does_not_register_in_time_is_a_fault_until_it_does() -> None:
    case = Case(limit_s=60.0).running(now=100.0)
    assert case.judge.deadline() == 160.0
    case.judge.wake(160.0)
    assert case.changes() == [(RAISED, FaultKind.NEVER_REGISTERED, "id-1")]
    case.judge.heard(PORT, Registered(SESSION))
    assert case.changes() == [(CLEARED, FaultKind.NEVER_REGISTERED, "id-1")]


def test_the_limit_does_not_run_while_the_instance_is_excused() -> None:
    case = Case(limit_s=60.0).running(now=100.0)
    case.judge.become(Condition.PAUSED_BY_USER, 120.0)
    assert case.judge.deadline() is None
    case.judge.become(Condition.RUNNING, 500.0)
    assert case.judge.deadline() == 560.0


def test_the_limit_counts_for_each_boot_and_ends_with_a_session() -> None:
    case = Case(limit_s=60.0).running(now=0.0).registered()
    assert case.judge.deadline() is None
    case.judge.rebooted(100.0)
    assert case.judge.deadline() == 160.0


# --- excuses and ends -----------------------------------------------------------------------


@pytest.mark.parametrize("condition", sorted(EXCUSED - {Condition.SHUT_OFF}))
def test_what_is_still_wrong_when_an_excuse_ends_is_raised_then(condition: Condition) -> None:
    case = registered()
    case.judge.become(condition, 5.0)
    case.unwell("log")
    assert case.changes() == []
    case.judge.become(Condition.RUNNING, 6.0)
    assert case.changes() == [(RAISED, FaultKind.UNHEALTHY, "id-1")]


def test_what_got_well_during_an_excuse_is_never_raised() -> None:
    case = registered()
    case.judge.become(Condition.PAUSED_BY_USER, 5.0)
    case.unwell("log")
    case.well()
    case.judge.become(Condition.RUNNING, 6.0)
    assert case.changes() == []


def test_an_instance_that_leaves_as_asked_takes_all_its_faults_along() -> None:
    case = registered()
    case.judge.heard(PORT, LOST)
    case.unwell("log")
    case.full_changes()
    case.judge.leave("undefined")
    changes = case.full_changes()
    assert {change.kind for change in changes} == {FaultKind.HEARTBEAT_LOST, FaultKind.UNHEALTHY}
    assert {(change.status, change.fact.detail) for change in changes} == {(CLEARED, "undefined")}


# --- after a restart of the agent -----------------------------------------------------------


def test_a_fault_of_an_earlier_agent_is_cleared_under_its_own_id_and_not_raised_twice() -> None:
    case = Case(active={FaultKind.HEARTBEAT_LOST: "old"}).running()
    case.judge.expect(PORT, SESSION)
    case.judge.heard(PORT, LOST)
    assert case.changes() == []
    case.judge.heard(PORT, Alive())
    assert case.changes() == [(CLEARED, FaultKind.HEARTBEAT_LOST, "old")]


def test_an_instance_that_went_while_the_agent_was_away_is_lost() -> None:
    case = Case()
    case.judge.expect(PORT, SESSION)
    case.judge.gone("no listener", 1.0)
    assert case.changes() == [(RAISED, FaultKind.INSTANCE_LOST, "id-1")]


def test_a_guest_that_nobody_asked_to_watch_has_no_faults() -> None:
    case = Case(limit_s=60)
    case.judge.watch(False, 0.0)
    assert case.running().judge.deadline() is None
    case.registered()
    case.judge.heard(PORT, LOST)
    case.unwell("reboot")
    case.judge.port_closed(PORT, 1.0, 1.0)
    case.judge.wake(2.0)
    case.judge.gone("QEMU crashed", 3.0)
    assert case.changes() == []


def test_faults_end_when_nobody_asks_for_a_heartbeat_any_more() -> None:
    case = registered()
    case.judge.heard(PORT, LOST)
    case.unwell("log")
    case.full_changes()
    case.judge.watch(False, 1.0)
    changes = case.full_changes()
    assert {(change.status, change.kind) for change in changes} == {
        (CLEARED, FaultKind.HEARTBEAT_LOST),
        (CLEARED, FaultKind.UNHEALTHY),
    }
    assert "nobody asks" in changes[0].fact.detail


def test_an_earlier_agents_faults_end_as_well() -> None:
    case = Case(active={FaultKind.HEARTBEAT_LOST: "old"})
    case.judge.watch(False, 0.0)
    assert case.changes() == [(CLEARED, FaultKind.HEARTBEAT_LOST, "old")]


def test_a_guest_that_is_asked_for_later_has_its_time_to_register() -> None:
    case = Case(limit_s=60)
    case.judge.watch(False, 0.0)
    case.running()
    case.judge.watch(True, 100.0)
    assert case.judge.deadline() == 160.0
    case.judge.wake(160.0)
    assert case.changes() == [(RAISED, FaultKind.NEVER_REGISTERED, "id-1")]
