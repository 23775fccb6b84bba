"""Who was not let in: every one is counted, and the log says who, as far as it can bear."""

import logging
import time

from reachthru.controller_server.metrics import Metrics
from reachthru.protocol.rate import TokenBucket

# Lines of the log: so many on average, and at once.
LOG_RATE_PER_S = 0.2
LOG_BURST = 10

_log = logging.getLogger(__name__)


class Refusals:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._bucket = TokenBucket(LOG_RATE_PER_S, LOG_BURST)
        self._unlogged = 0

    def add(self, reason: str, asked: str, peer: str, why: str) -> None:
        """`reason`: a word for the metric. `asked` and `why`: for people."""
        self._metrics.api_refusal(reason)
        if not self._bucket.take(time.monotonic()):
            self._unlogged += 1
            return
        more = f" ({self._unlogged} more since the last line)" if self._unlogged else ""
        self._unlogged = 0
        _log.warning("REST: refused %s from %s: %s%s", asked, peer, why, more)
