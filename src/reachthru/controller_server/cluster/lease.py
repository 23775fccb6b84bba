"""What one controller knows of the lease that makes a leader. Pure.

The lease is a row in the database, held for `LEADER_TTL_S` by its clock. A controller counts
from the moment at which it asked, which is earlier: so it stops to act before another one may
begin, with no clock in common.
"""

import math

from reachthru.controller_server.store.leases import LEADER_TTL_S

RENEW_S = 1.0
# Another one's lease was renewed at most a lease ago; and it may hear of things a moment after us.
UNLED_S = LEADER_TTL_S + RENEW_S


class Lease:
    """Every time is monotonic seconds."""

    def __init__(self) -> None:
        self._until = -math.inf

    def leads(self, now: float) -> bool:
        return now < self._until

    def granted(self, asked_at: float) -> None:
        self._until = max(self._until, asked_at + LEADER_TTL_S)

    def refused(self) -> None:
        """It is another one's, or was given back."""
        self._until = -math.inf
