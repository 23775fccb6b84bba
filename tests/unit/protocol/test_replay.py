"""A report that was seen before, or is older than one that was, is a replay."""

import pytest

from reachthru.protocol.replay import PAST_EPOCHS, ReplayGuard


def test_reports_that_go_on_counting_are_new() -> None:
    guard = ReplayGuard()
    assert [guard.is_new("a", "e1", seq) for seq in (1, 2, 3, 7, 8)] == [True] * 5


@pytest.mark.parametrize("seq", [0, 1, 4, 5])
def test_a_report_that_is_not_newer_than_the_last_is_a_replay(seq: int) -> None:
    guard = ReplayGuard()
    assert guard.is_new("a", "e1", 5)
    assert not guard.is_new("a", "e1", seq)
    assert guard.is_new("a", "e1", 6)


def test_an_agent_that_started_anew_counts_anew_and_its_past_is_a_replay() -> None:
    guard = ReplayGuard()
    assert guard.is_new("a", "e1", 100)
    assert guard.is_new("a", "e2", 1)
    assert not guard.is_new("a", "e1", 101)
    assert not guard.is_new("a", "e2", 1)
    assert guard.is_new("a", "e2", 2)


def test_hosts_do_not_share_their_counts() -> None:
    guard = ReplayGuard()
    assert guard.is_new("a", "e1", 5)
    assert guard.is_new("b", "e1", 5)


def test_an_older_agent_without_an_epoch_is_always_taken() -> None:
    guard = ReplayGuard()
    assert all(guard.is_new("a", "", 0) for _ in range(3))


def test_memory_is_bounded_in_hosts_and_in_epochs() -> None:
    guard = ReplayGuard(hosts_limit=3)
    for number in range(100):
        guard.is_new("kept", "e", number)
        guard.is_new(f"h{number}", "e", 1)
    assert len(guard._heard) == 3
    assert not guard.is_new("kept", "e", 99)
    for number in range(100):
        guard.is_new("kept", f"e{number}", 1)
    assert len(guard._heard["kept"].past) == PAST_EPOCHS
