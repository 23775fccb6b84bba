"""Is it one instance's change that a sink does not take, or does it take none? Pure: no clock."""

BACKOFF_MIN_S = 0.25
# A sink that takes nothing is spared by its probes' rests: this is for a change that it dislikes.
BACKOFF_MAX_S = 5.0
# When it said no to so many instances and yes to none, it is the sink that fails. Below the
# concurrency of a sink, so that a few instances' failures never take all of its slots.
FAILING_LANES_OF_A_SINK = 5
# So many in a row are no chance, even of a sink that takes every other change only.
PROBES_WITHOUT_REST = 16
PROBE_REST_MIN_S = 0.1
PROBE_REST_MAX_S = 5.0


def backoff_s(attempts: int, chance: float) -> float:
    """How long to rest after so many failures; `chance` is 0 to 1 and takes off up to half."""
    return _growing(BACKOFF_MIN_S, BACKOFF_MAX_S, attempts - 1, chance)


def _growing(least: float, most: float, doublings: int, chance: float) -> float:
    longest: float = min(most, least * 2.0 ** min(doublings, 16))
    return longest * (1 - chance / 2)


class SinkHealth:
    """What a sink said lately, as far as one controller has heard."""

    def __init__(self) -> None:
        self._lanes: set[str] = set()  # of the noes since the last yes
        self._noes = 0

    @property
    def fails(self) -> bool:
        """One change at a time is enough to find out when it is well."""
        return len(self._lanes) >= FAILING_LANES_OF_A_SINK

    @property
    def is_down(self) -> bool:
        """It is to be left alone between two probes."""
        return self.fails and self._noes >= PROBES_WITHOUT_REST

    def yes(self) -> None:
        """It is alive: it took a change, or refused one for good."""
        self._lanes.clear()
        self._noes = 0

    def no(self, lane: str) -> None:
        self._lanes.add(lane)
        self._noes += 1

    def probe_rest_s(self, chance: float) -> float:
        """How long to leave it alone now; 0 while it may be one instance's trouble."""
        if not self.is_down:
            return 0.0
        return _growing(
            PROBE_REST_MIN_S, PROBE_REST_MAX_S, self._noes - PROBES_WITHOUT_REST, chance
        )
