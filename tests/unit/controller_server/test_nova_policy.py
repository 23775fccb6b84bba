"""What is done about a fault: each guard, and what it says."""

import pytest

from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks.nova.policy import (
    USUAL_KINDS,
    Action,
    Book,
    ComputeService,
    Deed,
    DeedState,
    Do,
    Hold,
    Leave,
    Limits,
    Policy,
    Server,
    Settle,
    Tally,
    before_asking,
    for_host,
    for_instance,
    over_limit,
)

LIMITS = Limits(window_s=600.0, per_instance=3, per_host=10, per_cloud=50, hosts=2)
UUID = "3f1c0d5e-7a52-4d1b-9a43-1a6f1e1d5a10"


def policy(actions="reset_state corrective force_down", undo="reset_state force_down"):
    return Policy(
        actions=frozenset(actions.split()),
        undo=frozenset(undo.split()),
        kinds=frozenset(USUAL_KINDS),
        compute_silent_s=20.0,
        call_s=15.0,
        limits=LIMITS,
    )


def fault(kind="heartbeat_lost", asks="reboot", status="raised"):
    is_host = kind == "host_lost"
    return Fault(
        id="f1",
        kind=kind,
        severity="critical",
        status=status,
        instance_uuid="" if is_host else UUID,
        instance_name="" if is_host else "db",
        host="compute-0",
        raised_at="2026-01-01T00:00:00.000000+00:00",
        cleared_at="2026-01-01T00:01:00.000000+00:00" if status == "cleared" else None,
        detail="",
        corrective_action=asks,
        stages_ms={},
        deliveries=[],
    )


def server(vm_state="active", task_state=None, host="compute-0", **values):
    return Server(
        vm_state=vm_state,
        task_state=task_state,
        host=host,
        **{"newest_touch": "req-create", **values},
    )


def deed(action, state, fault_id="f1", marker="req-create", **values):
    return Deed(
        fault_id=fault_id,
        action=Action(action),
        subject=UUID,
        state=DeedState(state),
        marker=marker,
        **values,
    )


def book(*deeds, **values):
    return Book(**{"is_active": True, "deeds": deeds, **values})


OURS = deed("reset_state", "done", ours="req-reset")


@pytest.mark.parametrize(
    ("kind", "asks", "actions", "first"),
    [
        ("heartbeat_lost", "reboot", "reset_state corrective", Action.RESET_STATE),
        ("heartbeat_lost", "reboot", "corrective", Action.REBOOT),
        ("unhealthy", "stop", "corrective", Action.STOP),
        ("instance_lost", "log", "reset_state corrective", Action.RESET_STATE),
        ("heartbeat_lost", "log", "corrective", None),
        ("heartbeat_lost", "none", "corrective force_down", None),
        ("heartbeat_lost", "force_down", "corrective force_down", None),
        ("heartbeat_lost", "reset_state", "corrective", None),
        ("guest_daemon_lost", "reboot", "reset_state corrective", None),
        ("never_registered", "reboot", "reset_state corrective", None),
        ("heartbeat_lost", "reboot", "force_down", None),
    ],
)
def test_only_what_the_operator_named_and_the_guest_asks_for(kind, asks, actions, first):
    rules, found = policy(actions), fault(kind, asks)
    quick = before_asking(found, rules, book())
    if first is None:
        assert quick == Leave()
    else:
        assert quick is None
        assert for_instance(found, rules, book(), server()) == Do(first, "req-create")


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (None, "no such instance"),
        (server(host="compute-1"), "Nova has it on compute-1"),
        (server(host=None), "Nova has it on no host"),
        (server(task_state="migrating"), "Nova is at it (migrating)"),
        (server(task_state="deleting"), "Nova is at it (deleting)"),
        (server(task_state="rebooting_hard"), "Nova is at it (rebooting_hard)"),
        (server(vm_state="stopped"), "Nova says stopped"),
        (server(vm_state="paused"), "Nova says paused"),
        (server(vm_state="resized"), "Nova says resized"),
        (server(vm_state="soft-delete"), "Nova says soft-delete"),
        (server(vm_state="building"), "Nova says building"),
    ],
)
def test_an_instance_that_nova_or_somebody_is_at_is_left_alone(now, why):
    decision = for_instance(fault(), policy(), book(), now)
    assert isinstance(decision, Leave)
    assert why in decision.why


def test_a_snapshot_is_waited_for():
    decision = for_instance(fault(), policy(), book(), server(task_state="image_uploading"))
    assert decision == Hold(
        "Nova is at it (image_uploading)", 10.0, Action.RESET_STATE, "req-create"
    )


@pytest.mark.parametrize("known", [book(), book(deed("reset_state", "done", "f0", ours="req-0"))])
def test_what_nova_itself_put_in_error_is_not_rebooted(known):
    decision = for_instance(fault(), policy(), known, server(vm_state="error"))
    assert decision == Leave("Nova says error")


def test_what_we_put_in_error_is_rebooted_as_its_guest_asks():
    now = server(vm_state="error", newest_reset="req-reset")
    assert for_instance(fault(), policy(), book(OURS), now) == Do(Action.REBOOT, "req-create")


def test_a_locked_instance_is_reset_and_not_rebooted():
    locked = server(is_locked=True)
    assert for_instance(fault(), policy(), book(), locked) == Do(Action.RESET_STATE, "req-create")
    locked = server("error", is_locked=True, newest_reset="req-reset")
    assert for_instance(fault(), policy(), book(OURS), locked) == Leave("it is locked")


def test_whoever_acted_since_the_first_look_has_the_say():
    seen = book(deed("reset_state", "seen"))
    touched = server(newest_touch="req-rebuild")
    assert for_instance(fault(), policy(), seen, touched) == Leave("somebody has acted on it since")


@pytest.mark.parametrize(
    ("action", "now", "decision"),
    [
        # The call arrived, and Nova is at it or has done it.
        ("reboot", server(newest_touch="req-reboot"), Settle(Action.REBOOT)),
        (
            "reboot",
            server(task_state="rebooting_hard", newest_touch="req-reboot"),
            Settle(Action.REBOOT),
        ),
        ("stop", server("stopped", newest_touch="req-stop"), Settle(Action.STOP)),
        # It never did.
        ("reboot", server(), Do(Action.REBOOT, "req-create")),
    ],
)
def test_what_was_begun_when_a_controller_died_is_done_once(action, now, decision):
    begun = book(deed(action, "begun", age_s=16.0))
    assert for_instance(fault(asks=action), policy("corrective"), begun, now) == decision


def test_a_call_that_may_still_be_on_its_way_is_waited_for():
    begun = book(deed("reboot", "begun", age_s=5.0))
    decision = for_instance(fault(), policy("corrective"), begun, server())
    assert decision == Hold("a call may still be on its way", 10.0)


def test_a_reset_that_was_begun_is_settled_by_the_state():
    begun = book(deed("reset_state", "begun"))
    rules = policy("reset_state")
    assert for_instance(fault(), rules, begun, server("error")) == Settle(Action.RESET_STATE)
    assert for_instance(fault(), rules, begun, server()) == Do(Action.RESET_STATE, "req-create")


def test_an_action_is_taken_once_a_fault():
    done = book(OURS, deed("reboot", "done"))
    assert before_asking(fault(), policy(), done) == Leave()
    undone = book(deed("reset_state", "undone"), deed("reboot", "done"))
    assert before_asking(fault(), policy(), undone) == Leave()


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"is_active": False}, "cleared already"),
        ({"correlated_to": "h1"}, "the fault h1"),
    ],
)
def test_a_fault_that_is_over_or_of_a_lost_host_is_no_cause(known, why):
    decision = before_asking(fault(), policy(), book(**known))
    assert isinstance(decision, Leave)
    assert why in decision.why


@pytest.mark.parametrize(
    ("action", "tally", "option"),
    [
        (Action.REBOOT, Tally(of_instance=2, on_host=9, in_cloud=49, hosts=9), None),
        (Action.REBOOT, Tally(of_instance=3), "max_per_instance"),
        (Action.STOP, Tally(on_host=10), "max_per_host"),
        (Action.RESET_STATE, Tally(in_cloud=50), "max_per_cloud"),
        (Action.FORCE_DOWN, Tally(of_instance=9, on_host=99, in_cloud=99, hosts=1), None),
        (Action.FORCE_DOWN, Tally(hosts=2), "max_hosts"),
    ],
)
def test_limits(action, tally, option):
    why = over_limit(action, LIMITS, tally)
    assert (why is None) if option is None else (option in why)


def test_what_is_over_a_limit_waits_and_after_its_first_look_nova_is_not_asked_for_it():
    full = Tally(in_cloud=50)
    assert before_asking(fault(), policy(), book(tally=full)) is None
    held = for_instance(fault(), policy(), book(tally=full), server())
    assert isinstance(held, Hold)
    assert (held.action, held.marker) == (Action.RESET_STATE, "req-create")
    seen = book(deed("reset_state", "seen"), tally=full)
    assert isinstance(before_asking(fault(), policy(), seen), Hold)


@pytest.mark.parametrize(
    ("known", "now", "decision"),
    [
        (book(OURS), server("error", newest_reset="req-reset"), Do(Action.RESET_STATE, undo=True)),
        # Another fault put it in error, and this one is the last.
        (
            book(deed("reset_state", "done", fault_id="f0", ours="req-reset")),
            server("error", newest_reset="req-reset"),
            Do(Action.RESET_STATE, undo=True),
        ),
        (
            book(OURS),
            server("error", newest_reset="req-x"),
            Leave("somebody has acted on it since"),
        ),
        (book(OURS), server("error"), Leave("somebody has acted on it since")),
        (
            book(OURS),
            server("error", "rebuilding", newest_reset="req-reset"),
            Leave("somebody has acted on it since"),
        ),
        (book(OURS), server("active"), Leave("Nova says active")),
        (book(OURS), None, Leave("Nova has no such instance")),
        # Nobody knows whether that reset was ours.
        (
            book(deed("reset_state", "done")),
            server("error"),
            Leave("somebody has acted on it since"),
        ),
    ],
)
def test_only_our_own_reset_is_undone(known, now, decision):
    assert before_asking(fault(status="cleared"), policy(), known) is None
    assert for_instance(fault(status="cleared"), policy(), known, now) == decision


@pytest.mark.parametrize(
    ("undo", "known", "decision"),
    [
        ("", book(OURS), Leave()),
        ("force_down", book(OURS), Leave()),
        ("reset_state", book(), Leave()),
        ("reset_state", book(deed("reset_state", "undone", ours="req-reset")), Leave()),
        ("reset_state", book(OURS, others=("f2",)), Leave("the fault f2 is active")),
    ],
)
def test_nothing_is_undone_that_was_not_asked_for_or_not_ours(undo, known, decision):
    assert before_asking(fault(status="cleared"), policy(undo=undo), known) == decision


def service(silent_s=45.0, forced_down=False):
    return ComputeService(id="s1", forced_down=forced_down, silent_s=silent_s)


def lost(state="done", **values):
    return deed("force_down", state, marker="", **values)


@pytest.mark.parametrize(
    ("known", "now", "decision"),
    [
        (book(), service(), Do(Action.FORCE_DOWN)),
        (book(), None, Leave("Nova has no nova-compute there")),
        (book(), service(forced_down=True), Leave("it is forced down already")),
        (book(lost("begun")), service(forced_down=True), Settle(Action.FORCE_DOWN)),
        (book(lost("begun")), service(), Do(Action.FORCE_DOWN)),
        (
            book(),
            service(silent_s=4.0),
            Hold("its nova-compute reported 4 s ago: only our agent there is silent", 5.0),
        ),
    ],
)
def test_a_lost_host_is_forced_down_if_nova_does_not_hear_of_it_either(known, now, decision):
    assert before_asking(fault("host_lost"), policy(), known) is None
    assert for_host(fault("host_lost"), policy(), known, now) == decision


def test_too_many_hosts_are_not_forced_down_at_once():
    decision = for_host(fault("host_lost"), policy(), book(tally=Tally(hosts=2)), service())
    assert isinstance(decision, Hold)
    assert "max_hosts" in decision.why


@pytest.mark.parametrize(
    ("age_s", "now", "decision"),
    [
        (60.0, service(silent_s=4.0, forced_down=True), Do(Action.FORCE_DOWN, undo=True)),
        (60.0, service(silent_s=4.0), Leave("it is not forced down any more")),
        (60.0, service(silent_s=60.0, forced_down=True), Hold),
        # What wrote last may have been our own force-down.
        (10.0, service(silent_s=4.0, forced_down=True), Hold),
        (60.0, None, Leave("Nova has no nova-compute there")),
    ],
)
def test_a_host_that_is_back_is_up_once_its_nova_compute_reports(age_s, now, decision):
    back, known = fault("host_lost", status="cleared"), book(lost(age_s=age_s))
    found = for_host(back, policy(), known, now)
    assert isinstance(found, Hold) if decision is Hold else found == decision


def test_a_host_that_is_lost_again_stays_down():
    back = fault("host_lost", status="cleared")
    known = book(lost(age_s=60.0), others=("h2",))
    assert before_asking(back, policy(), known) == Leave("the fault h2 is active")
