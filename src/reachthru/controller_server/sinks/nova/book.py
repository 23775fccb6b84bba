"""What Nova was asked for because of faults. Functions of a connection, for its thread.

Begun is written before Nova is asked, and done after it has answered: what a controller was at when
it died is known, and how much was done lately is counted over all controllers.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, text, update

from reachthru.controller_server.model import Fault, lane_of
from reachthru.controller_server.sinks.nova.policy import (
    Action,
    Book,
    Deed,
    DeedState,
    Limits,
    Tally,
    over_limit,
)
from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.tables import faults, nova_actions
from reachthru.protocol.faults import FaultKind, FaultStatus

# What lies further ahead does not count: the clock was set back.
HORIZON_S = 300.0
# Of our own: of several controllers, one at a time counts and begins.
_LOCK = 0x72656163686E6F76  # "reachnov"


def read_book(
    connection: Connection, fault: Fault, kinds: Collection[str], window_s: float
) -> Book:
    """What is known about `fault` now; faults of other kinds than `kinds` are no others of it."""
    now = now_s(connection)
    row = connection.execute(
        select(faults.c.status, faults.c.correlated_to).where(faults.c.id == fault.id)
    ).one_or_none()
    deeds = connection.execute(
        select(nova_actions)
        .where(nova_actions.c.subject == lane_of(fault))
        .order_by(nova_actions.c.begun_at.desc())
    ).all()
    others = connection.scalars(
        select(faults.c.id)
        .where(
            _same_subject(fault, kinds),
            faults.c.status == FaultStatus.RAISED.value,
            faults.c.correlated_to.is_(None),
            faults.c.id != fault.id,
        )
        .order_by(faults.c.last_change_id)
    ).all()
    return Book(
        is_active=row is not None and row.status == FaultStatus.RAISED.value,
        correlated_to=None if row is None else row.correlated_to,
        deeds=tuple(
            Deed(
                fault_id=deed.fault_id,
                action=Action(deed.action),
                subject=deed.subject,
                state=DeedState(deed.state),
                marker=deed.marker,
                ours=deed.ours,
                age_s=max(0.0, now - deed.begun_at),
            )
            for deed in deeds
        ),
        others=tuple(others),
        tally=_tally(connection, fault, now, window_s),
    )


def see(connection: Connection, fault: Fault, action: Action, marker: str) -> None:
    """Somebody wants it, and has looked at Nova; what is known already stands."""
    if _row(connection, fault, action) is None:
        _insert(connection, fault, action, marker, DeedState.SEEN)


def begin(
    connection: Connection, fault: Fault, action: Action, marker: str, limits: Limits
) -> str | None:
    """From now on Nova may have been asked. Returns what is in the way, in the operator's words.

    It waits for nobody: another controller that is counting at the moment is in the way.
    """
    if connection.dialect.name == "postgresql":
        locked = connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK})
        if not locked:
            return "another controller is about to act"
    is_active = connection.scalar(
        select(faults.c.status == FaultStatus.RAISED.value).where(faults.c.id == fault.id)
    )
    if not is_active:
        return "the fault is being cleared"
    now = now_s(connection)
    why = over_limit(action, limits, _tally(connection, fault, now, limits.window_s))
    if why is not None:
        return why
    if _row(connection, fault, action) is None:
        _insert(connection, fault, action, marker, DeedState.BEGUN)
    else:
        _set(connection, fault.id, action, state=DeedState.BEGUN, begun_at=now)
    return None


def end(connection: Connection, fault_id: str, action: Action, ours: str) -> None:
    """Nova has done it; `ours` as in `Deed`."""
    _set(connection, fault_id, action, state=DeedState.DONE, ours=ours)


def undo(connection: Connection, subject: str, action: Action) -> None:
    connection.execute(
        update(nova_actions)
        .where(
            nova_actions.c.subject == subject,
            nova_actions.c.action == action.value,
            nova_actions.c.state == DeedState.DONE.value,
        )
        .values(state=DeedState.UNDONE.value)
    )


def take_back(connection: Connection, fault_id: str, action: Action) -> None:
    """Nova has refused it: it counts for nothing."""
    connection.execute(
        delete(nova_actions).where(
            nova_actions.c.fault_id == fault_id, nova_actions.c.action == action.value
        )
    )


def _same_subject(fault: Fault, kinds: Collection[str]) -> ColumnElement[bool]:
    if fault.kind == FaultKind.HOST_LOST:
        return and_(faults.c.host == fault.host, faults.c.kind == FaultKind.HOST_LOST.value)
    return and_(faults.c.instance_uuid == fault.instance_uuid, faults.c.kind.in_(kinds))


def _tally(connection: Connection, fault: Fault, now: float, window_s: float) -> Tally:
    lately = and_(
        nova_actions.c.begun_at > now - window_s,
        nova_actions.c.begun_at <= now + HORIZON_S,
        nova_actions.c.state != DeedState.SEEN.value,
    )
    is_this = nova_actions.c.subject == lane_of(fault)
    is_force_down = nova_actions.c.action == Action.FORCE_DOWN.value

    def count(what: ColumnElement[str], *where: ColumnElement[bool]) -> int:
        query = select(func.count(what.distinct())).where(lately, *where)
        return connection.scalar(query) or 0

    return Tally(
        of_instance=count(nova_actions.c.fault_id, is_this, nova_actions.c.fault_id != fault.id),
        on_host=count(
            nova_actions.c.subject, ~is_this, nova_actions.c.host == fault.host, ~is_force_down
        ),
        in_cloud=count(nova_actions.c.subject, ~is_this, ~is_force_down),
        hosts=count(nova_actions.c.subject, ~is_this, is_force_down),
    )


def _row(connection: Connection, fault: Fault, action: Action) -> object:
    return connection.execute(
        select(nova_actions.c.state).where(
            nova_actions.c.fault_id == fault.id, nova_actions.c.action == action.value
        )
    ).one_or_none()


def _insert(
    connection: Connection, fault: Fault, action: Action, marker: str, state: DeedState
) -> None:
    connection.execute(
        insert(nova_actions).values(
            fault_id=fault.id,
            action=action.value,
            subject=lane_of(fault),
            host=fault.host,
            state=state.value,
            marker=marker,
            ours="",
            begun_at=now_s(connection),
        )
    )


def _set(connection: Connection, fault_id: str, action: Action, **values: object) -> None:
    connection.execute(
        update(nova_actions)
        .where(nova_actions.c.fault_id == fault_id, nova_actions.c.action == action.value)
        .values(**values)
    )
