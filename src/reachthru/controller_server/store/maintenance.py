"""Maintenance windows, and what is held back because of them. Functions of a connection.

Whether a fault's deliveries are held back is decided in the transaction that stores it, and they
are let go in one that has the fault's row locked: so no order of events loses one. What a window
that ends at the same moment leaves behind is found a second later.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, bindparam, delete, insert, or_, select, update

from reachthru.controller_server.store.tables import (
    PENDING,
    SUPPRESSED,
    deliveries,
    faults,
    maintenance_windows,
)
from reachthru.controller_server.windows import Scope, Window, covering
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultStatus

KEEP_S = 30 * 86_400.0  # windows that are over, for people
ACTIVE_LIMIT = 1_000
RELEASE_LIMIT = 500  # faults in one transaction
# Within this after a window's end, every fault of it is let go.
LET_GO_S = 3600.0

# Made once: SQLAlchemy takes longer to make a statement than to have it executed.
_ALL = select(maintenance_windows).order_by(maintenance_windows.c.started_at)
_RECENT = _ALL.where(
    or_(
        maintenance_windows.c.ended_at.is_(None),
        maintenance_windows.c.ended_at > bindparam("since"),
    )
)
_MARK = (
    update(faults).where(faults.c.id == bindparam("fault")).values(maintenance=bindparam("window"))
)


class Over(Struct, frozen=True):
    """`windows` have just expired; the faults `released`, by id, are told now: `told` has how many
    of their changes, by sink.
    """

    windows: list[Window]
    released: list[str]
    told: Counter[str]


def load(connection: Connection) -> list[Window]:
    """Every one that is remembered, the oldest first."""
    return [_window(row) for row in connection.execute(_ALL)]


def recent(connection: Connection, now: float) -> list[Window]:
    """Those that are not over, or were not when any fault was marked that is not let go yet."""
    return [_window(row) for row in connection.execute(_RECENT, {"since": now - LET_GO_S})]


def _window(row: Row[Any]) -> Window:
    return Window(**dict(row._mapping) | {"scope": Scope(row.scope)})


def hold(connection: Connection, changes: Iterable[FaultChange], now: float) -> set[str]:
    """The faults, by id, of whose changes nobody is to be told; new ones are marked.

    The changes are stored, their faults' rows locked.
    """
    windows = recent(connection, now)
    if not windows:  # no fault can be marked
        return set()
    active = [window for window in windows if window.is_active(now)]
    marks, ids = {}, set()
    for change in changes:
        ids.add(change.fault_id)
        window = covering(active, change.instance_uuid, change.host)
        if change.status is FaultStatus.RAISED and window is not None:
            marks[change.fault_id] = window.id
    if marks:
        connection.execute(
            _MARK, [{"fault": id, "window": window} for id, window in sorted(marks.items())]
        )
    held = select(faults.c.id).where(faults.c.id.in_(ids), faults.c.maintenance.is_not(None))
    return set(connection.scalars(held))


def start(connection: Connection, window: Window) -> bool:
    """False: so many are active already."""
    windows = recent(connection, window.started_at)
    active = [one for one in windows if one.is_active(window.started_at)]
    if len(active) >= ACTIVE_LIMIT:
        return False
    connection.execute(
        insert(maintenance_windows),
        {name: getattr(window, name) for name in window.__struct_fields__}
        | {"scope": window.scope.value},
    )
    return True


def end(connection: Connection, window_id: str, by: str, now: float) -> Window | None:
    """The window as it is after that; None: there is none of that id. An end stays as it was."""
    connection.execute(
        update(maintenance_windows)
        .where(maintenance_windows.c.id == window_id, maintenance_windows.c.ended_at.is_(None))
        .values(ended_at=now, ended_by=by)
    )
    row = connection.execute(_ALL.where(maintenance_windows.c.id == window_id)).first()
    return None if row is None else _window(row)


def set_instances(connection: Connection, instances: dict[str, list[str]]) -> None:
    """By window's id: the members of its group have changed."""
    for window_id, uuids in instances.items():
        connection.execute(
            update(maintenance_windows)
            .where(maintenance_windows.c.id == window_id)
            .values(instances=uuids)
        )


def let_go(connection: Connection, now: float) -> Over:
    """Ends what has expired, and lets up to `RELEASE_LIMIT` faults go whose window is over."""
    windows = recent(connection, now)
    active = [window for window in windows if window.is_active(now)]
    expired = [
        window for window in windows if window.ended_at is None and not window.is_active(now)
    ]
    if expired:
        connection.execute(
            update(maintenance_windows)
            .where(maintenance_windows.c.id.in_([window.id for window in expired]))
            .values(ended_at=now)
        )
    rows = connection.execute(
        select(faults.c.id, faults.c.instance_uuid, faults.c.host, faults.c.last_change_id)
        .where(
            faults.c.maintenance.is_not(None),
            faults.c.maintenance.not_in([window.id for window in active]),
            faults.c.status == FaultStatus.RAISED.value,
        )
        .order_by(faults.c.last_change_id)
        .limit(RELEASE_LIMIT)
        # A fault that is being cleared must not be raised behind that.
        .with_for_update(skip_locked=True)
    ).all()
    released: dict[str, int] = {}
    for row in rows:
        other = covering(active, row.instance_uuid, row.host)
        mark = {"fault": row.id, "window": None if other is None else other.id}
        connection.execute(_MARK, mark)
        if other is None:
            released[row.id] = row.last_change_id
    told = _deliver(connection, list(released.values()), now)
    return Over(expired, list(released), told)


def _deliver(connection: Connection, change_ids: Sequence[int], now: float) -> Counter[str]:
    """Returns how many, by sink."""
    if not change_ids:
        return Counter()
    sinks = connection.scalars(
        update(deliveries)
        .where(deliveries.c.change_id.in_(change_ids), deliveries.c.state == SUPPRESSED)
        .values(state=PENDING, due_at=now)
        .returning(deliveries.c.sink)
    )
    return Counter(sinks)


def forget_old(connection: Connection, now: float) -> None:
    """Those that were over long ago, once no fault says that it was of theirs."""
    marked = select(faults.c.maintenance).where(faults.c.maintenance.is_not(None))
    connection.execute(
        delete(maintenance_windows).where(
            maintenance_windows.c.ended_at < now - KEEP_S,
            maintenance_windows.c.id.not_in(marked),
        )
    )
