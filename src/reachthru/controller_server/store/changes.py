"""Fault changes into rows. Functions of a connection, for the database's thread."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, structs
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from reachthru.controller_server.model import iso, lane_of, ms_since
from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.deliveries import BEHIND_S
from reachthru.controller_server.store.maintenance import hold
from reachthru.controller_server.store.tables import (
    PENDING,
    SUPPRESSED,
    deliveries,
    fault_changes,
    faults,
)
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultStatus

# Made once: SQLAlchemy takes longer to make a statement than to have it executed.
_LOCK_FAULTS = (
    select(faults.c.id)
    .where(faults.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(faults.c.id)
    .with_for_update()
)
_PUT_FAULTS = {
    "postgresql": postgresql.insert(faults).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(faults).on_conflict_do_nothing(),
}
_SEEN = select(fault_changes.c.fault_id, fault_changes.c.status).where(
    fault_changes.c.fault_id.in_(bindparam("ids", expanding=True))
)
_ADD_CHANGES = insert(fault_changes).returning(fault_changes.c.id, sort_by_parameter_order=True)
_ADD_DELIVERIES = insert(deliveries)
_SET_CURRENT = (
    update(faults)
    .where(faults.c.id == bindparam("fault"))
    .values(
        status=bindparam("new_status"),
        cleared_at=bindparam("new_cleared_at"),
        last_change_id=bindparam("new_change_id"),
    )
)


class Arrived(Struct, frozen=True):
    """A fault change, and the wall clock's time when it came off the bus."""

    change: FaultChange
    at: datetime


class Stored(Struct, frozen=True):
    """A change that was new, as it was stored."""

    id: int
    change: FaultChange


def add_changes(
    connection: Connection, arrived: Sequence[Arrived], sinks: Collection[str]
) -> list[Stored]:
    """Stores what is new, with a pending delivery for each of `sinks`, in the order of arrival.

    (fault id, status) is what makes a change new: repeats are passed over. A cleared fault that
    nobody here heard of is stored as raised and as cleared, so that every sink sees both.
    """
    if not arrived:
        return []
    by_fault = {item.change.fault_id: item.change for item in reversed(arrived)}
    _lock_faults(connection, by_fault)
    seen = _seen(connection, sorted(by_fault))
    fresh: list[Arrived] = []
    for item in arrived:
        change = item.change
        for status in (FaultStatus.RAISED, change.status):
            if (change.fault_id, status) not in seen:
                seen.add((change.fault_id, status))
                fresh.append(Arrived(_as(change, status, item.at), item.at))
    if not fresh:
        return []
    now = now_s(connection)
    ids = connection.scalars(
        _ADD_CHANGES,
        [_change_row(item) | {"stored_at": now} for item in fresh],
    ).all()
    stored = [Stored(id, item.change) for id, item in zip(ids, fresh, strict=True)]
    _set_current(connection, stored)
    held = hold(connection, [item.change for item in stored], now)
    rows = _delivery_rows(stored, sinks, now, held)
    if rows:
        connection.execute(_ADD_DELIVERIES, rows)
    return stored


def _lock_faults(connection: Connection, by_fault: Mapping[str, FaultChange]) -> None:
    """Makes the faults where they are missing; all are ours until the end of the transaction.

    Another controller may have the same changes at the same time, from an agent that repeats
    them: in one order for all, so that nobody waits for somebody who waits.
    """
    rows = [_fault_row(by_fault[fault_id]) for fault_id in sorted(by_fault)]
    connection.execute(_PUT_FAULTS[connection.dialect.name], rows)
    connection.execute(_LOCK_FAULTS, {"ids": list(by_fault)}).all()


def _delivery_rows(
    stored: Sequence[Stored], sinks: Collection[str], now: float, held: Collection[str]
) -> list[dict[str, Any]]:
    """`held`: faults, by id, of which nobody is told because of a maintenance window."""
    lanes: set[str] = set()
    rows = []
    for item in stored:
        lane = lane_of(item.change)
        due_at = now + BEHIND_S if lane in lanes else now
        is_held = item.change.fault_id in held
        if not is_held:
            lanes.add(lane)
        rows += [
            {
                "change_id": item.id,
                "sink": sink,
                "lane": lane,
                "state": SUPPRESSED if is_held else PENDING,
                "attempts": 0,
                "due_at": due_at,
            }
            for sink in sinks
        ]
    return rows


def _seen(connection: Connection, fault_ids: Sequence[str]) -> set[tuple[str, str]]:
    rows = connection.execute(_SEEN, {"ids": list(fault_ids)})
    return {(fault_id, status) for fault_id, status in rows}


def _as(change: FaultChange, status: FaultStatus, at: datetime) -> FaultChange:
    """The change as `status`, with the times that belong to it."""
    if change.status is not status:
        return structs.replace(change, status=status, cleared_at=None, stages_ms={})
    if status is FaultStatus.RAISED:
        return structs.replace(change, cleared_at=None)
    return structs.replace(change, cleared_at=change.cleared_at or iso(at))


def _set_current(connection: Connection, stored: Sequence[Stored]) -> None:
    """A fault is what its latest change says."""
    current = {item.change.fault_id: item for item in stored}
    rows = [
        {
            "fault": fault_id,
            "new_status": item.change.status.value,
            "new_cleared_at": item.change.cleared_at,
            "new_change_id": item.id,
        }
        for fault_id, item in sorted(current.items())
    ]
    connection.execute(_SET_CURRENT, rows)


def _fault_row(change: FaultChange) -> dict[str, Any]:
    return {
        "id": change.fault_id,
        "kind": change.kind.value,
        "severity": change.severity.value,
        "status": FaultStatus.RAISED.value,
        "instance_uuid": change.instance_uuid,
        "instance_name": change.instance_name,
        "host": change.host,
        "raised_at": change.raised_at,
        "cleared_at": None,
        "corrective_action": change.corrective_action,
        "last_change_id": 0,  # until the change itself has an id
    }


def _change_row(item: Arrived) -> dict[str, Any]:
    change = item.change
    stages_ms = dict(change.stages_ms)
    controller_ms = ms_since(changed_at(change), item.at)
    if controller_ms is not None:
        stages_ms["controller"] = controller_ms
    return {
        "fault_id": change.fault_id,
        "status": change.status.value,
        "detail": change.detail,
        "stages_ms": stages_ms,
    }


def changed_at(change: FaultChange) -> str:
    """The wall clock's time of detection, as the agent saw it."""
    return change.cleared_at or change.raised_at
