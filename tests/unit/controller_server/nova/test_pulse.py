"""Our own pulses say whether Nova's bus carries."""

from reachthru.controller_server.nova.pulse import LIMIT_S, PulseWatch, Verdict


def test_before_the_first_pulse_nothing_is_known_and_nothing_is_lost():
    watch = PulseWatch()
    assert watch.carries is None
    assert watch.check(1000.0) is Verdict.FINE


def test_what_came_before_the_first_pulse_may_have_been_missed():
    watch = PulseWatch()
    assert watch.heard(1, 1.0) is Verdict.MISSED
    assert watch.carries


def test_pulses_that_follow_each_other_are_fine():
    watch = PulseWatch()
    watch.heard(1, 1.0)
    assert watch.heard(2, 2.0) is Verdict.FINE
    assert watch.check(2.0 + LIMIT_S - 0.1) is Verdict.FINE


def test_a_loss_is_said_once_and_a_return_may_have_missed_something():
    watch = PulseWatch()
    watch.heard(1, 1.0)
    assert watch.check(1.0 + LIMIT_S) is Verdict.LOST
    assert watch.check(2.0 + LIMIT_S) is Verdict.FINE
    assert watch.carries is False
    assert watch.heard(2, 20.0) is Verdict.MISSED  # late, though none is missing


def test_a_gap_in_the_numbers_may_have_missed_something():
    watch = PulseWatch()
    watch.heard(1, 1.0)
    assert watch.heard(3, 3.0) is Verdict.MISSED
