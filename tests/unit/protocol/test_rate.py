from reachthru.protocol.rate import TokenBucket


def test_a_burst_passes_and_what_is_over_it_does_not() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_tokens_come_back_with_time_and_never_more_than_a_burst() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=3)
    while bucket.take(100.0):
        pass
    assert bucket.take(100.15)
    assert not bucket.take(100.15)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_stands_still_gives_nothing() -> None:
    bucket = TokenBucket(rate_per_s=1000, burst=1)
    assert bucket.take(5.0)
    assert not bucket.take(5.0)
