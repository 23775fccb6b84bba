"""Applications and their intervals, by a clock that the test turns."""

import pytest

from reachthru.guest_daemon.applications import (
    APPLICATIONS_LIMIT,
    Applications,
    RefusedError,
)


@pytest.fixture
def applications():
    return Applications()


def test_one_late_beat_is_forgiven_and_two_missed_intervals_are_not(applications):
    applications.register(1, "db", interval_ms=1000, now=10.0)
    assert applications.deadline() == 12.0
    applications.wake(11.9)
    assert applications.problems() == []
    applications.wake(12.0)
    assert applications.problems() == ["application db: no beat for 2000 ms"]
    assert applications.deadline() is None  # nothing more to wait for
    applications.beat(1, healthy=True, log_msg="", now=50.0)
    assert applications.problems() == []
    assert applications.deadline() == 52.0


def test_its_own_word_counts_until_its_next(applications):
    applications.register(1, "db", interval_ms=1000, now=0)
    applications.beat(1, healthy=False, log_msg="disk\nfull\x1b", now=1)
    assert applications.problems() == ["application db: disk full"]
    applications.beat(1, healthy=False, log_msg="", now=2)
    assert applications.problems() == ["application db: unhealthy"]


def test_cut_off_stays_a_problem_until_one_of_that_name_registers(applications):
    applications.register(1, "db", interval_ms=1000, now=0)
    applications.cut_off(1)
    applications.wake(100)
    assert applications.problems() == ["application db: disconnected without leaving"]
    applications.register(2, "db", interval_ms=1000, now=101)
    assert applications.problems() == []


def test_registering_again_on_one_connection_replaces(applications):
    applications.register(1, "db", interval_ms=1000, now=0)
    applications.register(1, "db2", interval_ms=500, now=0)
    assert [one.name for one in applications.all()] == ["db2"]
    applications.register(1, "db2", interval_ms=700, now=0)
    assert [one.interval_ms for one in applications.all()] == [700]


def test_a_name_in_use_is_refused(applications):
    applications.register(1, "db", interval_ms=1000, now=0)
    with pytest.raises(RefusedError):
        applications.register(2, "db", interval_ms=1000, now=0)
    applications.leave(1)
    applications.register(2, "db", interval_ms=1000, now=0)


def test_a_beat_of_nobody_is_refused(applications):
    with pytest.raises(RefusedError, match="register first"):
        applications.beat(1, healthy=True, log_msg="", now=0)


def test_their_number_is_bounded_and_the_cut_off_make_room(applications):
    for owner in range(1, APPLICATIONS_LIMIT + 1):
        applications.register(owner, f"app{owner}", interval_ms=1000, now=0)
    with pytest.raises(RefusedError, match="64 applications"):
        applications.register(999, "more", interval_ms=1000, now=0)
    applications.cut_off(7)
    applications.register(999, "more", interval_ms=1000, now=0)
    assert len(applications.all()) == APPLICATIONS_LIMIT
    assert applications.problems() == []
