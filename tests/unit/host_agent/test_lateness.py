"""Time in which the agent could not run counts for nobody."""

import pytest

from reachthru.host_agent.lateness import LOSSES_KEPT, TOLERATED_S, AwakeTime


def test_a_process_that_wakes_on_time_loses_nothing() -> None:
    awake = AwakeTime()
    assert awake.woke(10.0, 9.999 + TOLERATED_S) == 0.0
    assert awake.at(11.0) == 11.0


def test_awake_time_goes_on_from_the_moment_that_was_wanted() -> None:
    awake = AwakeTime()
    assert awake.woke(10.0, 40.0) == 30.0
    assert awake.at(40.0) == 10.0
    assert awake.at(41.0) == 11.0


def test_moments_before_a_loss_keep_their_real_time_and_later_ones_move() -> None:
    awake = AwakeTime()
    awake.woke(10.0, 40.0)
    awake.woke(20.0, 51.0)
    assert awake.monotonic(9.0) == 9.0
    assert awake.monotonic(15.0) == 45.0
    assert awake.monotonic(25.0) == 56.0


def test_an_agent_that_is_starved_again_and_again_still_sees_time_pass() -> None:
    awake = AwakeTime()
    wanted, monotonic = 0.01, 0.0
    for _ in range(1000):  # each 10 ms of sleep takes it 500 ms
        monotonic += 0.5
        awake.woke(wanted, monotonic)
        wanted = awake.at(monotonic) + 0.01
    assert awake.at(monotonic) == pytest.approx(10.0, rel=0.01)


def test_what_is_remembered_of_losses_is_bounded() -> None:
    awake = AwakeTime()
    for number in range(10 * LOSSES_KEPT):
        awake.woke(float(number), number + 1000.0 * (number + 1))
    assert len(awake._losses) == LOSSES_KEPT


def test_the_worst_lateness_is_told_once_a_period() -> None:
    awake = AwakeTime()
    awake.woke(1.0, 1.004)
    awake.woke(2.0, 2.020)
    awake.woke(3.0, 3.001)
    assert awake.take_worst_s() == pytest.approx(0.020)
    assert awake.take_worst_s() == 0.0
