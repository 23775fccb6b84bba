"""Faults that wait for a controller, faults that are active, and sessions: kept over restarts.

A change is durable before it may be sent, and kept until a controller has acknowledged it. The
whole truth is in memory as well (it is small), so a disk that fails costs durability and nothing
else: it is said once, loudly, and everything is written anew when the disk is back. What could
not even be read at the start is read before that.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from reachthru.host_agent.store import Saved, Statement, Store, StoreError
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultStatus
from reachthru.protocol.heartbeat.events import Session

WAITING_LIMIT = 20_000
DROPPED_AT_ONCE = 1_000
LOOK_AGAIN_AFTER = 100
RETRY_S = 2.0

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode_change = msgspec.json.Decoder(FaultChange).decode
_decode_session = msgspec.json.Decoder(Session).decode

_PUT_CHANGE = "INSERT OR REPLACE INTO change (seq, body) VALUES (?, ?)"
_DROP_CHANGE = "DELETE FROM change WHERE seq = ?"
_PUT_ACTIVE = "INSERT OR REPLACE INTO active (fault_id, body) VALUES (?, ?)"
_DROP_ACTIVE = "DELETE FROM active WHERE fault_id = ?"
_PUT_SESSION = "INSERT OR REPLACE INTO session (instance_uuid, port, body) VALUES (?, ?, ?)"
_DROP_SESSION = "DELETE FROM session WHERE instance_uuid = ? AND port = ?"

Kept = TypeVar("Kept", FaultChange, Session)


class Outbox:
    """On the event loop. Both hooks are set before anything else happens:

    `on_ready` is called once with each change that may be sent, in the order of their seqs;
    `on_gone` with the seqs of what needs no sending any more;
    `on_found` with each fault of an earlier host agent's that is found active only now.
    """

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self.on_ready: Callable[[FaultChange], None] = lambda _change: None
        self.on_gone: Callable[[list[int]], None] = lambda _seqs: None
        self.on_found: Callable[[FaultChange], None] = lambda _raised: None
        self.active: dict[str, FaultChange] = {}  # raises, by fault id
        self.sessions: dict[tuple[str, str], Session] = {}  # by instance uuid and port
        self.dropped = 0  # changes, since the start
        self._waiting: dict[int, FaultChange] = {}  # by seq, in order
        self._writing: dict[int, float] = {}  # seq to the monotonic moment of detection
        self._unready: deque[FaultChange] = deque()  # `on_ready` was not called yet; in order
        self._last_seq = 0
        self._store = store
        self._loop = loop
        self._broken = False
        self._unread = False
        self._maybe_told: set[int] = set()  # seqs that may have reached a controller
        self._drop_at = WAITING_LIMIT

    async def open(self) -> None:
        """Takes over what an earlier host agent left. Never fails: see the module's text."""
        try:
            saved = await self._store.load()
        except StoreError as error:
            # Whatever an earlier agent's acknowledgements say, they are not about our changes.
            self._last_seq = int(time.time() * 1000)
            self._unread = True
            self._break(error)
            return
        self._restore(saved)
        if saved.unwritable is not None:
            self._break(saved.unwritable)

    # --- changes -----------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many changes no controller has acknowledged."""
        return len(self._waiting)

    @property
    def oldest_seq(self) -> int:
        """Of what waits; 0 if nothing does."""
        return next(iter(self._waiting), 0)

    @property
    def oldest(self) -> FaultChange | None:
        """Of what waits."""
        return next(iter(self._waiting.values()), None)

    @property
    def durable(self) -> bool:
        """False: the disk fails, and faults are in memory only."""
        return not self._broken

    def record(self, change: FaultChange, detected_at: float) -> None:
        """Gives `change` its seq and keeps it. `detected_at` is monotonic seconds."""
        self._last_seq += 1
        change.seq = self._last_seq
        statements: list[Statement] = [(_PUT_CHANGE, (change.seq, _encode(change)))]
        if change.status is FaultStatus.RAISED:
            self.active[change.fault_id] = change
            statements.append((_PUT_ACTIVE, (change.fault_id, _encode(change))))
        else:
            self.active.pop(change.fault_id, None)
            statements.append((_DROP_ACTIVE, (change.fault_id,)))
        self._keep(change, detected_at, statements)
        if len(self._waiting) > self._drop_at:
            self._drop_history()

    def _keep(self, change: FaultChange, detected_at: float, statements: list[Statement]) -> None:
        self._waiting[change.seq] = change
        self._writing[change.seq] = detected_at
        self._unready.append(change)
        self._write(statements, lambda: self._mark_durable(change))

    def mark_told(self, changes: Iterable[FaultChange]) -> None:
        """These are about to be sent: a controller may have them, acknowledged or not."""
        self._maybe_told.update(change.seq for change in changes)

    def acknowledge(self, seqs: Iterable[int]) -> list[FaultChange]:
        """A controller has these. Unknown ones are repeats of what was acknowledged before.

        Returns those that were known.
        """
        found = (self._waiting.pop(seq, None) for seq in seqs)
        changes = [change for change in found if change is not None]
        known = [change.seq for change in changes]
        if known:
            self._maybe_told.difference_update(known)
            self.on_gone(known)
            self._write([(_DROP_CHANGE, (seq,)) for seq in known])
        return changes

    # --- sessions ----------------------------------------------------------------------------

    def save_session(self, instance_uuid: str, port: str, session: Session) -> None:
        self.sessions[instance_uuid, port] = session
        self._write([(_PUT_SESSION, (instance_uuid, port, _encode(session)))])

    def drop_session(self, instance_uuid: str, port: str) -> None:
        if self.sessions.pop((instance_uuid, port), None) is not None:
            self._write([(_DROP_SESSION, (instance_uuid, port))])

    # --- the disk ----------------------------------------------------------------------------

    def _restore(self, saved: Saved) -> None:
        changes = self._decode(saved.changes, _decode_change)
        self._last_seq = saved.last_seq
        self._waiting = {change.seq: change for change in changes}
        self._maybe_told = set(self._waiting)
        self.active = {c.fault_id: c for c in self._decode(saved.active, _decode_change)}
        for uuid, port, body in saved.sessions:
            for session in self._decode([body], _decode_session):
                self.sessions[uuid, port] = session
        for change in changes:
            self.on_ready(change)

    def _adopt(self, saved: Saved) -> None:
        """What an earlier agent left and nobody could read at the start.

        Its changes are told now, under new seqs. Guests have been judged anew meanwhile.
        """
        for change in self._decode(saved.changes, _decode_change):
            self._last_seq += 1
            change.seq = self._last_seq
            self._keep(change, time.monotonic(), [])  # `_mend` writes it with everything else
            self._maybe_told.add(change.seq)
        found = self._decode(saved.active, _decode_change)
        self.active |= {change.fault_id: change for change in found}
        for change in found:
            self.on_found(change)

    def _decode(self, bodies: Iterable[bytes], decode: Callable[[bytes], Kept]) -> list[Kept]:
        """Damaged ones cost themselves only."""
        kept: list[Kept] = []
        for body in bodies:
            try:
                kept.append(decode(body))
            except msgspec.DecodeError as error:
                _log.error("%s: an entry is damaged and skipped: %s", self._store.path, error)
        return kept

    def _write(self, statements: list[Statement], done: Callable[[], None] | None = None) -> None:
        """Where the disk is broken, memory is all there is, and `done` is as good as true."""

        def written(error: StoreError | None) -> None:
            if error is not None:
                self._break(error)
            if done is not None:
                done()

        if self._broken:
            self._loop.call_soon(written, None)
        else:
            self._store.write(statements, written)

    def _mark_durable(self, change: FaultChange) -> None:
        detected_at = self._writing.pop(change.seq, None)
        if detected_at is not None:
            change.stages_ms["outbox"] = round((time.monotonic() - detected_at) * 1000, 3)
        # A disk that fails lets later changes be done with before earlier ones.
        while self._unready and self._unready[0].seq not in self._writing:
            ready = self._unready.popleft()
            if ready.seq in self._waiting:
                self.on_ready(ready)

    def _break(self, error: StoreError) -> None:
        if not self._broken:
            self._broken = True
            _log.error(
                "the outbox can't be written: %s; faults are kept in memory only and would be lost"
                " with this process; trying again every %g s",
                *(error, RETRY_S),
            )
            self._loop.call_later(RETRY_S, self._mend)

    def _mend(self) -> None:
        if self._unread:
            self._store.read(self._read_late)
        else:
            self._write_anew()

    def _read_late(self, saved: Saved | None, error: StoreError | None) -> None:
        if saved is None:
            self._mended(error)
            return
        self._unread = False
        self._adopt(saved)
        self._write_anew()

    def _write_anew(self) -> None:
        """Everything. What is recorded from here on is written after it."""
        statements: list[Statement] = [
            ("DELETE FROM change", ()),
            ("DELETE FROM active", ()),
            ("DELETE FROM session", ()),
        ]
        statements += [(_PUT_CHANGE, (seq, _encode(c))) for seq, c in self._waiting.items()]
        statements += [(_PUT_ACTIVE, (id_, _encode(c))) for id_, c in self.active.items()]
        statements += [
            (_PUT_SESSION, (*key, _encode(session))) for key, session in self.sessions.items()
        ]
        self._broken = False
        self._store.write(statements, self._mended)

    def _mended(self, error: StoreError | None) -> None:
        if error is None:
            _log.warning("the outbox is written again: %s", self._store.path)
        else:
            self._broken = True
            self._loop.call_later(RETRY_S, self._mend)

    def _drop_history(self) -> None:
        """Over the limit, the oldest faults that are over go first; active ones never do.

        Nor do those whose raise a controller may have: it has to hear that they are over.
        """
        untold = {
            change.fault_id
            for seq, change in self._waiting.items()
            if change.status is FaultStatus.RAISED and seq not in self._maybe_told
        }
        ended = [
            change.fault_id
            for change in self._waiting.values()
            if change.status is FaultStatus.CLEARED and change.fault_id in untold
        ]
        dropped = frozenset(ended[:DROPPED_AT_ONCE])
        seqs = [seq for seq, change in self._waiting.items() if change.fault_id in dropped]
        if seqs:
            _log.error(
                "the outbox holds more than %d changes that no controller took: the %d oldest of"
                " faults that are over were dropped",
                *(WAITING_LIMIT, len(seqs)),
            )
            self.dropped += len(seqs)
            self.acknowledge(seqs)
        # Looking takes a while: not at each change, where there was little to find.
        self._drop_at = max(WAITING_LIMIT, len(self._waiting) + LOOK_AGAIN_AFTER)
