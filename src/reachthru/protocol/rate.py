"""A token bucket with time as an argument."""

# Two floats that mean the same moment differ by less than this.
_TOLERANCE_S = 1e-6


class TokenBucket:
    """Lets `rate_per_s` through on average and `burst` at once.

    What it keeps is the moment at which the bucket would be full again: one number a guest,
    since a thousand guests' buckets do not stay in a processor's cache.
    """

    __slots__ = ("_empty_s", "_full_at", "_token_s")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._token_s = 1 / rate_per_s
        self._empty_s = burst / rate_per_s + _TOLERANCE_S  # how long an empty one takes to fill
        self._full_at = 0.0

    def take(self, now: float) -> bool:
        """True, and one token less, if there was one."""
        full_at = self._full_at
        full_at = (full_at if full_at > now else now) + self._token_s
        if full_at - now > self._empty_s:
            return False
        self._full_at = full_at
        return True
