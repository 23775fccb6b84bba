"""Every group message that was lost on this host, by its sender and the reason."""

import asyncio
import logging
from collections import Counter

SENDERS_LIMIT = 1_000  # more than these are counted together
OTHERS = "others"
SAY_PERIOD_S = 10.0
SAID_SENDERS = 5

_log = logging.getLogger(__name__)


class GroupLosses:
    """Totals since the agent's start. What is new is logged in one line now and then."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.totals: dict[str, Counter[str]] = {}  # by sender
        self._loop = loop
        self._untold: set[str] = set()
        self._new: Counter[tuple[str, str]] = Counter()
        self._say_later: asyncio.TimerHandle | None = None

    def count(self, sender: str, reason: str, messages: int = 1) -> None:
        if sender not in self.totals and len(self.totals) >= SENDERS_LIMIT:
            sender = OTHERS
        self.totals.setdefault(sender, Counter())[reason] += messages
        self._untold.add(sender)
        self._new[sender, reason] += messages
        if self._say_later is None:
            self._say_later = self._loop.call_later(SAY_PERIOD_S, self._say)

    def take_report(self, *, full: bool) -> dict[str, dict[str, int]]:
        """The totals by sender and reason; if not `full`, of senders with news since the last."""
        untold, self._untold = self._untold, set()
        return {sender: dict(self.totals[sender]) for sender in (self.totals if full else untold)}

    def by_reason(self) -> Counter[str]:
        """The totals of all senders."""
        return sum(self.totals.values(), Counter())

    def close(self) -> None:
        if self._say_later is not None:
            self._say_later.cancel()
            self._say()

    def _say(self) -> None:
        self._say_later = None
        new, self._new = self._new, Counter()
        worst = ", ".join(
            f"{count} of {sender} ({reason})"
            for (sender, reason), count in new.most_common(SAID_SENDERS)
        )
        _log.warning(
            "%d group messages were lost within %g s, most of them: %s",
            *(new.total(), SAY_PERIOD_S, worst),
        )
