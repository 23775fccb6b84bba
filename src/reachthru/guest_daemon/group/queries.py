"""Status queries, one at a time. Time is an argument.

On the wire a newer query cancels an older one. Here several applications ask, so the next query
waits until the one under way is answered, and is then shared by everyone who waits.
"""

from typing import Any, Protocol

from msgspec import Struct

from reachthru.guest_daemon.loop import earliest
from reachthru.protocol.messages import StatusQuery

ANSWER_LIMIT_S = 2.0
SEQ_MAX = 2**31 - 1  # field peers parse signed


class Asker(Protocol):
    """An application that waits for its group's status.

    `address` is the `source_addr` that it asks from. `seq` is its own number for the query, None
    where any will do.
    """

    address: str
    seq: int | None

    def take_member(self, status: dict[str, Any]) -> None: ...

    def finish(self) -> None:
        """Every member has been told."""

    def fail(self, log_msg: str) -> None:
        """The host has refused, has left, or was silent for too long."""


class _UnderWay(Struct):
    seq: int
    askers: list[Asker]
    due_at: float


class Queries:
    """`first_seq` differs from one run to the next, so that nobody takes an old answer."""

    def __init__(self, first_seq: int) -> None:
        self._seq = first_seq
        self._waiting: list[Asker] = []
        self._under_way: _UnderWay | None = None

    # --- what applications do ----------------------------------------------------------------

    def ask(self, asker: Asker) -> None:
        self._waiting.append(asker)

    def forget(self, asker: Asker) -> None:
        """It has gone, or asks anew. A query that nobody waits for any more is given up."""
        self._waiting = [one for one in self._waiting if one is not asker]
        if self._under_way is not None:
            self._under_way.askers = [one for one in self._under_way.askers if one is not asker]
            if not self._under_way.askers:
                self._under_way = None

    # --- what the host says ------------------------------------------------------------------

    def receive_member(self, seq: int, status: dict[str, Any]) -> bool:
        """False if nobody has asked for it."""
        if self._under_way is None or self._under_way.seq != seq:
            return False
        for asker in self._under_way.askers:
            asker.take_member(status)
        return True

    def receive_done(self, seq: int) -> bool:
        """False if nobody has asked for it."""
        if self._under_way is None or self._under_way.seq != seq:
            return False
        askers, self._under_way = self._under_way.askers, None
        for asker in askers:
            asker.finish()
        return True

    def refused(self, log_msg: str) -> bool:
        """The query under way. False if there is none."""
        if self._under_way is None:
            return False
        askers, self._under_way = self._under_way.askers, None
        for asker in askers:
            asker.fail(log_msg)
        return True

    def fail_all(self, log_msg: str) -> None:
        waiting, self._waiting = self._waiting, []
        self.refused(log_msg)
        for asker in waiting:
            asker.fail(log_msg)

    # --- the relay's verbs -------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the next query may go out."""
        return self._under_way is None and bool(self._waiting)

    def start(self, now: float) -> tuple[str, StatusQuery]:
        """The next query and the address that it goes out from; only when `ready`.

        It is shared by those who ask from the same address, and has the number of the one among
        them that has its own.
        """
        address = self._waiting[0].address
        askers = [one for one in self._waiting if one.address == address]
        self._waiting = [one for one in self._waiting if one.address != address]
        seq = next((one.seq for one in askers if one.seq is not None), None)
        if seq is None:
            self._seq = seq = self._seq % SEQ_MAX + 1
        self._under_way = _UnderWay(seq, askers, now + ANSWER_LIMIT_S)
        return address, StatusQuery(seq=seq)

    def deadline(self) -> float | None:
        return earliest((self._under_way.due_at if self._under_way else None,))

    def wake(self, now: float) -> None:
        if self._under_way is not None and now >= self._under_way.due_at:
            self.refused(f"no answer from the host within {ANSWER_LIMIT_S:g} s")
