"""Fault changes into rows. Functions of a connection, for the database's thread."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, structs
from sqlalchemy import Connection, bindparam, insert, select, update

from reachthru.controller_server.model import iso, ms_since
from reachthru.controller_server.store.tables import PENDING, deliveries, fault_changes, faults
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultStatus


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
    fault_ids = {item.change.fault_id for item in arrived}
    seen = _seen(connection, sorted(fault_ids))
    fresh: list[Arrived] = []
    for item in arrived:
        change = item.change
        for status in (FaultStatus.RAISED, change.status):
            if (change.fault_id, status) not in seen:
                seen.add((change.fault_id, status))
                fresh.append(Arrived(_as(change, status, item.at), item.at))
    if not fresh:
        return []
    opened = [item.change for item in fresh if item.change.status is FaultStatus.RAISED]
    if opened:
        connection.execute(insert(faults), [_fault_row(change) for change in opened])
    ids = connection.scalars(
        insert(fault_changes).returning(fault_changes.c.id, sort_by_parameter_order=True),
        [_change_row(item) for item in fresh],
    ).all()
    stored = [Stored(id, item.change) for id, item in zip(ids, fresh, strict=True)]
    _set_current(connection, stored)
    rows = [
        {"change_id": item.id, "sink": sink, "state": PENDING, "attempts": 0}
        for item in stored
        for sink in sinks
    ]
    if rows:
        connection.execute(insert(deliveries), rows)
    return stored


def _seen(connection: Connection, fault_ids: Sequence[str]) -> set[tuple[str, str]]:
    rows = connection.execute(
        select(fault_changes.c.fault_id, fault_changes.c.status).where(
            fault_changes.c.fault_id.in_(fault_ids)
        )
    )
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
    statement = (
        update(faults)
        .where(faults.c.id == bindparam("fault"))
        .values(
            status=bindparam("new_status"),
            cleared_at=bindparam("new_cleared_at"),
            last_change_id=bindparam("new_change_id"),
        )
    )
    rows = [
        {
            "fault": fault_id,
            "new_status": item.change.status.value,
            "new_cleared_at": item.change.cleared_at,
            "new_change_id": item.id,
        }
        for fault_id, item in current.items()
    ]
    connection.execute(statement, rows)


def _fault_row(change: FaultChange) -> dict[str, Any]:
    return {
        "id": change.fault_id,
        "kind": change.kind.value,
        "severity": change.severity.value,
        "status": change.status.value,
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
