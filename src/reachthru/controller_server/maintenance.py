"""Maintenance windows as operators start and end them; every step of one is in the log.

The controller that leads ends what has expired, within a second, and tells of what was held back.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from reachthru.controller_server.groups.base import GroupDirectory
from reachthru.controller_server.store import maintenance as store
from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.maintenance import Over
from reachthru.controller_server.windows import Scope, Shown, Window, changed_groups, shown

FORGET_S = 3600.0

_log = logging.getLogger(__name__)


class TooManyError(Exception):
    """So many windows are active already; `str(error)` says how many."""

    def __init__(self) -> None:
        super().__init__(f"{store.ACTIVE_LIMIT} windows are active already; end some first")


class Maintenance:
    """`leads` says whether this controller is the one; `on_released` is called with the faults, by
    id, of which sinks are told now. `released` counts the changes, by sink. Every method raises
    `DatabaseError`.
    """

    def __init__(
        self,
        database: Database,
        groups: GroupDirectory,
        *,
        leads: Callable[[], bool],
        on_released: Callable[[Sequence[str]], None],
    ) -> None:
        self._database = database
        self._groups = groups
        self._leads = leads
        self._on_released = on_released
        self._forget_at = 0.0
        self.released: Counter[str] = Counter()

    async def windows(self, *, ended: bool) -> list[Shown]:
        """Those that are active, the oldest first; with `ended`, those that are over as well."""

        def operation(connection: Connection) -> list[Shown]:
            now = now_s(connection)
            return [
                shown(window, now)
                for window in store.load(connection)
                if ended or window.is_active(now)
            ]

        return await self._database.read(operation)

    async def start(
        self, scope: Scope, subject: str, *, for_s: float, reason: str, by: str
    ) -> Shown:
        """Raises `TooManyError`."""
        window_id = secrets.token_hex(4)
        instances = self._members().get(subject, []) if scope is Scope.GROUP else []

        def operation(connection: Connection) -> tuple[Window, Shown] | None:
            now = now_s(connection)
            window = Window(
                id=window_id,
                scope=scope,
                subject=subject,
                instances=instances,
                reason=reason,
                started_by=by,
                started_at=now,
                until=now + for_s,
            )
            return (window, shown(window, now)) if store.start(connection, window) else None

        started = await self._database.write(operation)
        if started is None:
            raise TooManyError
        window, answer = started
        who = f"{by} starts it" if by else "it starts"
        _log.warning(
            "maintenance %s: %s, until %s: no sink is told of its faults: %s",
            *(window, who, answer.ends_at, reason or "no reason given"),
        )
        return answer

    async def end(self, window_id: str, by: str) -> Shown | None:
        """None: there is no such window."""

        def operation(connection: Connection) -> tuple[Window, Shown, Over] | None:
            now = now_s(connection)
            window = store.end(connection, window_id, by or "an operator", now)
            if window is None:
                return None
            return window, shown(window, now), store.let_go(connection, now)

        ended = await self._database.write(operation, last=True)
        if ended is None:
            return None
        window, answer, over = ended
        _log.warning("maintenance %s: ended by %s", window, window.ended_by or "its time")
        self._say(over)
        return answer

    async def turn(self, now: float) -> None:
        """What is due at `now`, monotonic seconds. For each second."""
        if not self._leads():
            return
        if now >= self._forget_at:
            self._forget_at = now + FORGET_S
            await self._database.write(lambda c: store.forget_old(c, now_s(c)))
        windows = await self._database.read(lambda c: store.recent(c, now_s(c)))
        if not windows:
            return
        moved = changed_groups([w for w in windows if w.ended_at is None], self._members())
        if moved:
            await self._database.write(lambda c: store.set_instances(c, moved))
        self._say(await self._database.write(lambda c: store.let_go(c, now_s(c)), last=True))

    def _members(self) -> dict[str, list[str]]:
        return {
            group.id: sorted(member.uuid for member in group.members)
            for group in self._groups.groups()
        }

    def _say(self, over: Over) -> None:
        for window in over.windows:
            _log.warning("maintenance %s: its time is over", window)
        if over.released:
            faults = len(over.released)
            _log.warning("maintenance: %d faults that are still there are told now", faults)
            self.released.update(over.told)
            self._on_released(over.released)
