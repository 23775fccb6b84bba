"""Rows into what people and sinks see. Functions of a connection, for the database's thread."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, Select, case, select

from reachthru.controller_server.model import Delivery, Fault
from reachthru.controller_server.store.bulk import Statement
from reachthru.controller_server.store.tables import (
    deliveries,
    fault_changes,
    faults,
)
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity

_CHUNK = 500  # ids in one statement


class UnknownMarkerError(Exception):
    """There is no such fault, or no more."""


class FaultFilter(Struct, frozen=True, kw_only=True):
    """What to list, newest change first. None: whatever it is.

    `marker` is the id of a fault: what follows it is listed. `worst_first`: causes before what is
    correlated to them, and critical ones before others.
    """

    active: bool | None = None
    instance: str | None = None
    host: str | None = None
    kind: FaultKind | None = None
    severity: Severity | None = None
    worst_first: bool = False
    marker: str | None = None
    limit: int = 100


class Pending(Struct):
    """What one sink has to be told now. `is_repeat`: it has said yes to this before."""

    change_id: int
    attempts: int
    is_repeat: bool
    fault: Fault


_changes: Select[Any] = select(
    faults,
    fault_changes.c.id.label("change_id"),
    fault_changes.c.status.label("change_status"),
    fault_changes.c.detail,
    fault_changes.c.stages_ms,
    fault_changes.c.stored_ms,
)


_RANK = case(
    {severity.value: rank for rank, severity in enumerate(Severity)}, value=faults.c.severity
)


_CHANGES_BY_ID = Statement(
    lambda among: (
        _changes.join(fault_changes, fault_changes.c.fault_id == faults.c.id)
        .where(among(fault_changes.c.id, "ids"))
        .order_by(fault_changes.c.id)
    )
)
_DELIVERIES = Statement(
    lambda among: (
        select(deliveries).where(among(deliveries.c.change_id, "ids")).order_by(deliveries.c.sink)
    )
)


def list_faults(
    connection: Connection, wanted: FaultFilter, stored_ms: Mapping[int, float]
) -> list[Fault]:
    """`stored_ms` has, by change, the times that are not in the database yet.

    Raises `UnknownMarkerError`.
    """
    query = _changes.join(fault_changes, fault_changes.c.id == faults.c.last_change_id)
    if wanted.active is not None:
        status = FaultStatus.RAISED if wanted.active else FaultStatus.CLEARED
        query = query.where(faults.c.status == status.value)
    if wanted.instance is not None:
        query = query.where(faults.c.instance_uuid == wanted.instance)
    if wanted.host is not None:
        query = query.where(faults.c.host == wanted.host)
    if wanted.kind is not None:
        query = query.where(faults.c.kind == wanted.kind.value)
    if wanted.severity is not None:
        query = query.where(faults.c.severity == wanted.severity.value)
    if wanted.marker is not None:
        marker = select(faults.c.last_change_id).where(faults.c.id == wanted.marker)
        change_id = connection.execute(marker).scalar()
        if change_id is None:
            raise UnknownMarkerError
        query = query.where(faults.c.last_change_id < change_id)
    if wanted.worst_first:
        query = query.order_by(faults.c.correlated_to.is_not(None), _RANK)
    rows = connection.execute(
        query.order_by(faults.c.last_change_id.desc()).limit(wanted.limit)
    ).all()
    return _faults(connection, rows, stored_ms)


def list_changes(
    connection: Connection, change_ids: Sequence[int], stored_ms: Mapping[int, float]
) -> list[Fault]:
    """Each fault as of one of these changes, in the order of arrival."""
    return _faults(connection, _change_rows(connection, change_ids), stored_ms)


def _change_rows(connection: Connection, change_ids: Sequence[int]) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    for ids in _chunks(sorted(change_ids)):
        rows += connection.execute(_CHANGES_BY_ID.of(connection), {"ids": ids})
    return rows


def list_pending(
    connection: Connection,
    change_ids: Mapping[str, Sequence[int]],
    stored_ms: Mapping[int, float],
) -> dict[str, list[Pending]]:
    """These changes, each sink's own, in the order of arrival."""
    wanted = sorted({id for ids in change_ids.values() for id in ids})
    rows = {row.change_id: row for row in _change_rows(connection, wanted)}
    told = _deliveries(connection, wanted)
    pending: dict[str, list[Pending]] = {}
    for sink, ids in change_ids.items():
        pending[sink] = []
        for row in (rows[id] for id in sorted(ids)):
            (mine,) = (delivery for delivery in told[row.change_id] if delivery.sink == sink)
            fault = _fault(row, told[row.change_id], stored_ms)
            pending[sink].append(
                Pending(row.change_id, mine.attempts, mine.done_ms is not None, fault)
            )
    return pending


def _faults(
    connection: Connection, rows: Sequence[Row[Any]], stored_ms: Mapping[int, float]
) -> list[Fault]:
    told = _deliveries(connection, [row.change_id for row in rows])
    return [_fault(row, told[row.change_id], stored_ms) for row in rows]


def _fault(row: Row[Any], told: Iterable[Row[Any]], stored_ms: Mapping[int, float]) -> Fault:
    stages_ms = dict(row.stages_ms)
    stored = row.stored_ms if row.stored_ms is not None else stored_ms.get(row.change_id)
    if stored is not None:
        stages_ms["stored"] = stored
    result = []
    for delivery in told:
        result.append(
            Delivery(
                sink=delivery.sink,
                state=delivery.state,
                attempts=delivery.attempts,
                last_error=delivery.last_error,
                next_attempt_at=delivery.next_attempt_at,
            )
        )
        if delivery.done_ms is not None:
            stages_ms[f"sink:{delivery.sink}"] = delivery.done_ms
    cleared = row.change_status == FaultStatus.CLEARED.value
    return Fault(
        id=row.id,
        kind=row.kind,
        severity=row.severity,
        status=row.change_status,
        instance_uuid=row.instance_uuid,
        instance_name=row.instance_name,
        host=row.host,
        raised_at=row.raised_at,
        cleared_at=row.cleared_at if cleared else None,
        detail=row.detail,
        corrective_action=row.corrective_action,
        stages_ms=stages_ms,
        deliveries=result,
        correlated_to=row.correlated_to,
        maintenance=row.maintenance,
        instances=row.instances or [],
    )


def _deliveries(connection: Connection, change_ids: Sequence[int]) -> dict[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for ids in _chunks(change_ids):
        for row in connection.execute(_DELIVERIES.of(connection), {"ids": ids}):
            found[row.change_id].append(row)
    return found


def _chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
