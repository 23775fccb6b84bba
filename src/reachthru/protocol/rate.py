"""A token bucket with time as an argument."""


class TokenBucket:
    """Lets `rate_per_s` through on average and `burst` at once."""

    __slots__ = ("_burst", "_rate_per_s", "_tokens", "_updated_at")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._updated_at = 0.0

    def take(self, now: float) -> bool:
        """True, and one token less, if there was one."""
        elapsed = now - self._updated_at
        if elapsed > 0:
            self._tokens = min(self._burst, self._tokens + elapsed * self._rate_per_s)
            self._updated_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
