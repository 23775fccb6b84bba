"""Which fault change may go next: pure, with the time as an argument.

With several controllers, two changes on their way at once may be stored in either order. So an
instance has at most one change on its way, and its next one goes when that is acknowledged; other
instances are not held up. A change that nobody acknowledges in time is sent again, each time after
twice as long: controllers that are slow must not be given more to do for it.
"""

import heapq

from msgspec import Struct

from reachthru.protocol.agent_bus import FaultChange

WINDOW = 200  # changes that are on their way at once
RESEND_S = 5.0
RESEND_DOUBLINGS = 3


class _Sent(Struct):
    times: int = 0
    due: float = 0.0  # when it is sent again


class Lanes:
    """Changes that are durable and not acknowledged. `seq` orders them."""

    def __init__(self) -> None:
        self._instances: dict[int, str] = {}  # by seq
        self._lanes: dict[str, dict[int, FaultChange]] = {}  # by instance, each in order
        self._free: list[int] = []  # a heap; entries that are no longer true are skipped
        self._sent: dict[int, _Sent] = {}
        self._away: set[int] = set()  # each the first of its lane

    def add(self, change: FaultChange) -> None:
        """Its `seq` is higher than that of all before."""
        lane = self._lanes.setdefault(change.instance_uuid, {})
        lane[change.seq] = change
        self._instances[change.seq] = change.instance_uuid
        if len(lane) == 1:
            heapq.heappush(self._free, change.seq)

    def remove(self, seqs: list[int]) -> None:
        """Acknowledged, or given up. Unknown ones are repeats."""
        for seq in seqs:
            instance = self._instances.pop(seq, None)
            if instance is None:
                continue
            self._away.discard(seq)
            self._sent.pop(seq, None)
            lane = self._lanes[instance]
            del lane[seq]
            if lane:
                heapq.heappush(self._free, next(iter(lane)))
            else:
                del self._lanes[instance]

    def take(self, limit: int, now: float) -> list[FaultChange]:
        """Up to `limit` changes to send now, the oldest first. They count as on their way."""
        self._expire(now)
        taken: list[FaultChange] = []
        while self._free and len(taken) < limit and len(self._away) < WINDOW:
            seq = heapq.heappop(self._free)
            instance = self._instances.get(seq)
            if instance is None or seq in self._away or seq != next(iter(self._lanes[instance])):
                continue
            sent = self._sent.setdefault(seq, _Sent())
            sent.due = now + RESEND_S * 2 ** min(sent.times, RESEND_DOUBLINGS)
            sent.times += 1
            self._away.add(seq)
            taken.append(self._lanes[instance][seq])
        return taken

    def was_sent_before(self, seq: int) -> bool:
        """That it is on its way, and not for the first time since the last rewind."""
        sent = self._sent.get(seq)
        return sent is not None and sent.times > 1

    def deadline(self) -> float | None:
        """When an acknowledgement is overdue."""
        return min((self._sent[seq].due for seq in self._away), default=None)

    def rewind(self) -> None:
        """What was on its way may be lost: it may go again at once."""
        for seq in self._away:
            heapq.heappush(self._free, seq)
        self._away.clear()
        self._sent.clear()

    def _expire(self, now: float) -> None:
        for seq in [seq for seq in self._away if self._sent[seq].due <= now]:
            self._away.remove(seq)
            heapq.heappush(self._free, seq)
