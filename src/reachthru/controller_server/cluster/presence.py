"""Which hosts are silent, and whether that is theirs to answer for. Pure.

A host's agent reports at least each 5 s. A host that is silent for half of the limit is asked for
a report; one that is silent for all of it, though it was asked, is lost. Nobody is blamed for the
silence of something else:

- of our connection to the broker: silence counts from the moment of connection, and not before
  the agents had the time to come back too;
- of a carrier that only seems to be there: before anybody is called lost something must have come
  through it just now, a report of another host or our own echo;
- of a part of the carrier: where more than half of the hosts (and more than two) fall silent
  together, they get the limit once more, in which the carrier is suspected;
- of this process: what it was stopped or starved for is given back.

An agent that said goodbye was stopped on purpose: it is not watched until it reports again.
"""

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct

LOOK_S = 0.5  # how often to look
# A look that comes later than that: this process could not run.
TOLERATED_S = 1.0
# Agents try to connect anew at most 5 s apart, and a broker that has started takes its time.
SETTLE_S = 15.0
ASK_PATIENCE_S = 1.0  # an agent answers within 0.1 s
PROOF_S = 2.0  # what came through the carrier proves it for so long
ECHO_S = 1.0  # an echo that takes longer shows that the carrier did not carry
FEW = 2  # so many hosts that are silent together are no sign of anything


class Look(Struct, frozen=True, kw_only=True):
    """What is to be done now.

    `ask`: hosts to be asked for a report. `lost`: hosts that have just been found lost. `prove`:
    send an echo through the carrier. `suspected`: hosts that have just fallen silent together.
    `cleared`: the suspicion has just ended, since they are back.
    """

    ask: list[str] = []
    lost: list[str] = []
    prove: bool = False
    suspected: int = 0
    cleared: bool = False


class _Host:
    __slots__ = ("asked_at", "asked_first_at", "heard_at")

    def __init__(self, heard_at: float) -> None:
        self.heard(heard_at)

    def heard(self, now: float) -> None:
        self.heard_at = now
        self.asked_first_at = math.inf
        self.asked_at = -math.inf

    def give_back(self, late_s: float) -> None:
        self.heard_at += late_s
        self.asked_first_at += late_s
        self.asked_at += late_s

    def is_quiet(self, now: float) -> bool:
        """It was asked, and did not answer."""
        return now - self.asked_first_at >= ASK_PATIENCE_S


class Presence:
    """Every `now` is monotonic seconds. `lost_after_s` is above 0."""

    def __init__(self, lost_after_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._connected = False
        self._watched: dict[str, _Host] = {}
        self._lost: dict[str, float | None] = {}
        self._carried_at = -math.inf
        self._proving_since = math.inf
        self._suspected_at: float | None = None
        self._looked_at: float | None = None

    @property
    def lost(self) -> Mapping[str, float | None]:
        """When each was heard last; None: its loss is known to all."""
        return self._lost

    @property
    def suspects_carrier(self) -> bool:
        return self._suspected_at is not None

    def silence_s(self, host: str, now: float) -> float:
        """Since when nothing was heard of a watched host; 0 of any other."""
        found = self._watched.get(host)
        return 0.0 if found is None else max(0.0, now - found.heard_at)

    # --- what happens ------------------------------------------------------------------------

    def load(self, hosts: Iterable[str], lost: Iterable[str], now: float) -> None:
        """What an earlier controller knew: hosts that did not say goodbye, and those it lost."""
        for host in hosts:
            self._watched.setdefault(host, _Host(now))
        for host in lost:
            self.found_lost(host)

    def connection(self, connected: bool, now: float) -> None:
        """Everybody starts anew: who was deaf knows nothing."""
        self._connected = connected
        self._start_anew(now)

    def _start_anew(self, now: float) -> None:
        self._suspected_at = None
        self._proving_since = math.inf
        for host in [host for host, heard_at in self._lost.items() if heard_at is not None]:
            self._watched[host] = _Host(now)  # nobody was told yet
            del self._lost[host]
        for watched in self._watched.values():
            watched.heard(now + max(0.0, SETTLE_S - self._lost_after_s))

    def heard(self, host: str, now: float) -> None:
        """A report came."""
        self.carried(now)
        self._lost.pop(host, None)
        watched = self._watched.get(host)
        if watched is None:
            self._watched[host] = _Host(now)
        else:
            watched.heard(now)

    def carried(self, now: float) -> None:
        """Something came through the carrier, whoever sent it: our own echo, say."""
        if now - self._proving_since > ECHO_S:  # it did not carry, and does again
            self._start_anew(now)
        self._proving_since = math.inf
        self._carried_at = now

    def left(self, host: str) -> None:
        """It said goodbye."""
        self._watched.pop(host, None)
        self._lost.pop(host, None)

    def found_lost(self, host: str) -> None:
        """Another controller says so."""
        self._watched.pop(host, None)
        self._lost[host] = None

    def told(self, host: str) -> None:
        """What we found of it is known to all."""
        if host in self._lost:
            self._lost[host] = None

    def found_back(self, host: str, now: float) -> None:
        """Another controller has heard it."""
        if host in self._lost:
            del self._lost[host]
            self._watched[host] = _Host(now)

    # --- judging -----------------------------------------------------------------------------

    def look(self, now: float) -> Look:
        """To be called each `LOOK_S`."""
        self._give_back(now)
        if not self._connected:
            return Look()
        ask = [host for host, watched in self._watched.items() if self._ask(watched, now)]
        quiet = [host for host, watched in self._watched.items() if watched.is_quiet(now)]
        many = len(quiet) > FEW and 2 * len(quiet) > len(self._watched)
        if many and self._suspected_at is None:
            self._suspected_at = now
            return Look(ask=ask, suspected=len(quiet))
        if self._suspected_at is not None and not many:
            return self._acquit(quiet, ask, now)
        overdue = self._overdue(quiet, now)
        if not overdue:
            return Look(ask=ask)
        if now - self._carried_at > PROOF_S:
            self._proving_since = min(self._proving_since, now)
            return Look(ask=ask, prove=True)
        self._suspected_at = None
        for host in overdue:
            self._lost[host] = self._watched.pop(host).heard_at
        return Look(ask=ask, lost=overdue)

    def _ask(self, host: _Host, now: float) -> bool:
        """At half of the limit, and then each quarter of it."""
        if now - host.heard_at < self._lost_after_s / 2:
            return False
        if now - host.asked_at < self._lost_after_s / 4:
            return False
        host.asked_at = now
        host.asked_first_at = min(host.asked_first_at, now)
        return True

    def _overdue(self, quiet: list[str], now: float) -> list[str]:
        if self._suspected_at is None:
            return [host for host in quiet if self.silence_s(host, now) >= self._lost_after_s]
        # They fell silent together, and are judged together.
        return quiet if now - self._suspected_at >= self._lost_after_s else []

    def _acquit(self, quiet: list[str], ask: list[str], now: float) -> Look:
        """The carrier comes back, and with it host after host: the last ones get their time."""
        self._suspected_at = None
        for host in quiet:
            self._watched[host].heard(now)
        return Look(ask=ask, cleared=True)

    def _give_back(self, now: float) -> None:
        looked_at, self._looked_at = self._looked_at, now
        if looked_at is None or now - looked_at <= LOOK_S + TOLERATED_S:
            return
        late_s = now - looked_at - LOOK_S
        for host in self._watched.values():
            host.give_back(late_s)
        self._proving_since += late_s
        if self._suspected_at is not None:
            self._suspected_at += late_s
