"""Whether it is one instance's trouble or the sink's own."""

import random

import pytest

from reachthru.controller_server.sink_health import (
    BACKOFF_MAX_S,
    BACKOFF_MIN_S,
    FAILING_LANES_OF_A_SINK,
    PROBE_REST_MAX_S,
    PROBES_WITHOUT_REST,
    SinkHealth,
    backoff_s,
)


@pytest.mark.parametrize("attempts", [1, 2, 3, 10, 1000])
def test_rests_grow_and_are_bounded(attempts):
    longest, shortest = backoff_s(attempts, 0.0), backoff_s(attempts, 1.0)
    assert longest == min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(attempts - 1, 20))
    assert shortest == longest / 2


def test_one_instances_changes_never_make_a_sink_fail():
    health = SinkHealth()
    for _ in range(1000):
        health.no("one")
    assert not health.fails
    assert health.probe_rest_s(0.0) == 0


def test_no_to_many_and_yes_to_none_is_the_sinks_failure():
    health = SinkHealth()
    for number in range(FAILING_LANES_OF_A_SINK):
        assert not health.fails
        health.no(f"instance {number}")
    assert health.fails
    assert not health.is_down  # it may be chance
    health.yes()
    assert not health.fails


def test_a_sink_that_stays_down_is_asked_less_and_less_often():
    health = SinkHealth()
    rests = []
    for number in range(100):
        health.no(f"instance {number}")
        rests.append(health.probe_rest_s(0.0))
    assert rests[: PROBES_WITHOUT_REST - 1] == [0.0] * (PROBES_WITHOUT_REST - 1)
    assert rests == sorted(rests)
    assert rests[-1] == PROBE_REST_MAX_S


def test_a_sink_that_takes_every_other_change_is_hardly_ever_taken_for_down():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    health, down = SinkHealth(), 0
    for number in range(20_000):
        if chance.random() < 0.5:
            health.no(f"instance {number}")
        else:
            health.yes()
        down += health.is_down
    assert down < 20
