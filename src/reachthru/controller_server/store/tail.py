"""The newest fault changes, whoever stored them. Functions of a connection."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from reachthru.controller_server.store.tables import fault_changes, faults
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity

_CHUNK = 500  # ids in one statement
_KINDS = frozenset(FaultKind)


def last_change_id(connection: Connection) -> int:
    """0: there is none."""
    last: int | None = connection.execute(select(func.max(fault_changes.c.id))).scalar_one()
    return last or 0


def list_keys(
    connection: Connection, after_id: int, limit: int
) -> list[tuple[int, tuple[str, FaultStatus]]]:
    """(id, (fault id, status)) of changes behind `after_id`, by id."""
    rows = connection.execute(
        select(fault_changes.c.id, fault_changes.c.fault_id, fault_changes.c.status)
        .where(fault_changes.c.id > after_id)
        .order_by(fault_changes.c.id)
        .limit(limit)
    )
    return [(row.id, (row.fault_id, FaultStatus(row.status))) for row in rows]


def load_changes(connection: Connection, ids: Sequence[int]) -> list[FaultChange]:
    """By id. Their agents' `seq` is not kept: 0. A newer controller's kinds are left out."""
    changes: list[FaultChange] = []
    for start in range(0, len(ids), _CHUNK):
        rows = connection.execute(
            select(
                faults,
                fault_changes.c.status.label("change_status"),
                fault_changes.c.detail,
                fault_changes.c.stages_ms,
            )
            .join(fault_changes, fault_changes.c.fault_id == faults.c.id)
            .where(fault_changes.c.id.in_(ids[start : start + _CHUNK]))
            .order_by(fault_changes.c.id)
        )
        changes += [_change(row) for row in rows if row.kind in _KINDS]
    return changes


def list_ids(connection: Connection, keys: Sequence[tuple[str, FaultStatus]]) -> list[int]:
    """The ids of these changes, by id."""
    wanted, ids = set(keys), []
    fault_ids = sorted({fault_id for fault_id, _status in keys})
    for start in range(0, len(fault_ids), _CHUNK):
        rows = connection.execute(
            select(fault_changes.c.id, fault_changes.c.fault_id, fault_changes.c.status).where(
                fault_changes.c.fault_id.in_(fault_ids[start : start + _CHUNK])
            )
        )
        ids += [row.id for row in rows if (row.fault_id, FaultStatus(row.status)) in wanted]
    return sorted(ids)


def _change(row: Row[Any]) -> FaultChange:
    status = FaultStatus(row.change_status)
    return FaultChange(
        fault_id=row.id,
        seq=0,
        status=status,
        kind=FaultKind(row.kind),
        severity=Severity(row.severity),
        instance_uuid=row.instance_uuid,
        instance_name=row.instance_name,
        host=row.host,
        raised_at=row.raised_at,
        cleared_at=row.cleared_at if status is FaultStatus.CLEARED else None,
        detail=row.detail,
        corrective_action=row.corrective_action,
        stages_ms=row.stages_ms,
    )
