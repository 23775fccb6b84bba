"""Fault changes into rows. Functions of a connection, for the database's thread."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, structs
from sqlalchemy import Connection, func, select, text

from reachthru.controller_server.model import iso, lane_of, ms_since
from reachthru.controller_server.store.bulk import Insertion, Statement, Update
from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.deliveries import BEHIND_S, Claimer
from reachthru.controller_server.store.maintenance import hold
from reachthru.controller_server.store.tables import (
    PENDING,
    SUPPRESSED,
    deliveries,
    fault_changes,
    faults,
    waits_in_lane,
)
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultStatus

_LOCK_FAULTS = Statement(
    lambda among: (
        select(faults.c.id).where(among(faults.c.id, "ids")).order_by(faults.c.id).with_for_update()
    )
)
_SEEN = Statement(
    lambda among: select(fault_changes.c.fault_id, fault_changes.c.status).where(
        among(fault_changes.c.fault_id, "ids")
    )
)
_WAITING_LANES = Statement(
    lambda among: select(deliveries.c.sink, deliveries.c.lane).where(
        among(deliveries.c.sink, "sinks"),
        among(deliveries.c.lane, "lanes"),
        waits_in_lane(deliveries.c.state),
    )
)
_PUT_FAULTS = Insertion(
    faults,
    (
        *("id", "kind", "severity", "status", "instance_uuid", "instance_name", "host"),
        *("raised_at", "cleared_at", "corrective_action", "last_change_id"),
    ),
    or_nothing=True,
)
_ADD_CHANGES = Insertion(
    fault_changes, ("id", "fault_id", "status", "detail", "stages_ms", "stored_at")
)
_ADD_DELIVERIES = Insertion(
    deliveries, ("change_id", "sink", "lane", "state", "attempts", "due_at", "claimed_by")
)
_SET_CURRENT = Update(faults, ["id"], ["status", "cleared_at", "last_change_id"])
_LAST_ID = select(func.max(fault_changes.c.id))
_NEXT_IDS = text(
    "SELECT nextval(pg_get_serial_sequence('fault_changes', 'id')) FROM generate_series(1, :count)"
)


class Arrived(Struct, frozen=True):
    """A fault change, and the wall clock's time when it came off the bus."""

    change: FaultChange
    at: datetime


class Stored(Struct, frozen=True):
    """A change that was new, as it was stored; `at` is when it arrived."""

    id: int
    change: FaultChange
    at: datetime


class Room(Struct, frozen=True):
    """How many changes a worker would take now."""

    claimer: Claimer
    changes: int


class Added(Struct):
    """`claimed`: change ids, by sink, that are its worker's own from the start. `unclaimed`: sinks
    for which there is more that is due. `held`: how many changes no sink is told of.
    """

    stored: list[Stored]
    claimed: dict[str, list[int]]
    unclaimed: set[str]
    held: int = 0


def add_changes(
    connection: Connection,
    arrived: Sequence[Arrived],
    sinks: Collection[str],
    rooms: Sequence[Room] = (),
) -> Added:
    """Stores what is new, with a pending delivery for each of `sinks`, in the order of arrival.

    (fault id, status) is what makes a change new: repeats are passed over. A cleared fault that
    nobody here heard of is stored as raised and as cleared, so that every sink sees both.
    """
    fresh = _with_ids(connection, _without(arrived, set()))
    if not fresh:
        return Added([], {}, set())
    current = {item.change.fault_id: item for item in fresh}
    # In one order for all: another controller may have the same changes at the same time, from an
    # agent that repeats them, and nobody is to wait for somebody who waits.
    rows = [_fault_row(item) for _, item in sorted(current.items())]
    if _PUT_FAULTS.execute(connection, rows) < len(rows):
        seen = _lock_and_see(connection, sorted(current))
        ids = {(item.change.fault_id, item.change.status): item.id for item in fresh}
        fresh = [
            Stored(ids[new.change.fault_id, new.change.status], new.change, new.at)
            for new in _without(arrived, set(seen))
        ]
        known = {fault_id for fault_id, _status in seen}
        _set_current(connection, [item for item in fresh if item.change.fault_id in known])
    now = now_s(connection)
    _ADD_CHANGES.execute(connection, [_change_row(item) | {"stored_at": now} for item in fresh])
    held = hold(connection, [item.change for item in fresh], now)
    told = [item for item in fresh if item.change.fault_id not in held]
    added = _add_deliveries(connection, told, sinks, rooms)
    _ADD_DELIVERIES.execute(
        connection,
        [
            _delivery_row(item, sink, SUPPRESSED, now, None)
            for item in fresh
            if item.change.fault_id in held
            for sink in sinks
        ],
    )
    return Added(fresh, added.claimed, added.unclaimed, len(fresh) - len(told))


def _without(arrived: Sequence[Arrived], seen: set[tuple[str, str]]) -> list[Arrived]:
    """What is not in `seen`, to which it is added."""
    fresh: list[Arrived] = []
    for item in arrived:
        change = item.change
        for status in (FaultStatus.RAISED, change.status):
            if (change.fault_id, status) not in seen:
                seen.add((change.fault_id, status))
                fresh.append(Arrived(_as(change, status, item.at), item.at))
    return fresh


def _with_ids(connection: Connection, fresh: Sequence[Arrived]) -> list[Stored]:
    """Taken beforehand, so that a new fault is written once, with its latest change."""
    if not fresh:
        return []
    ids: Sequence[int]
    if connection.dialect.name == "postgresql":
        ids = connection.scalars(_NEXT_IDS, {"count": len(fresh)}).all()
    else:
        last = connection.scalar(_LAST_ID) or 0
        ids = range(last + 1, last + 1 + len(fresh))
    return [Stored(id, new.change, new.at) for id, new in zip(ids, fresh, strict=True)]


def _lock_and_see(connection: Connection, fault_ids: list[str]) -> set[tuple[str, str]]:
    """Those of the faults that are somebody else's are ours until the end of the transaction."""
    connection.execute(_LOCK_FAULTS.of(connection), {"ids": fault_ids}).all()
    rows = connection.execute(_SEEN.of(connection), {"ids": fault_ids})
    return {(fault_id, status) for fault_id, status in rows}


def _add_deliveries(
    connection: Connection, fresh: Sequence[Stored], sinks: Collection[str], rooms: Sequence[Room]
) -> Added:
    """Whose worker has room gets the first of each lane where nothing waits: no claim is needed."""
    now = now_s(connection)
    lanes = {lane_of(item.change) for item in fresh}
    waiting: set[tuple[str, str]] = set()
    if any(room.changes for room in rooms):
        asked = {"sinks": [room.claimer.sink for room in rooms], "lanes": list(lanes)}
        for row in connection.execute(_WAITING_LANES.of(connection), asked):
            waiting.add((row.sink, row.lane))
    added = Added(list(fresh), {}, set())
    by_sink = {room.claimer.sink: room for room in rooms}
    rows = []
    for sink in sinks:
        room = by_sink.get(sink)
        met: set[str] = set()
        claimed: list[int] = []
        for item in fresh:
            lane = lane_of(item.change)
            is_first, due_at, owner = lane not in met, now, None
            met.add(lane)
            if not is_first:
                due_at = now + BEHIND_S
            elif room and len(claimed) < room.changes and (sink, lane) not in waiting:
                due_at, owner = now + room.claimer.ttl_s, room.claimer.owner
                claimed.append(item.id)
            else:
                added.unclaimed.add(sink)
            rows.append(_delivery_row(item, sink, PENDING, due_at, owner))
        added.claimed[sink] = claimed
    _ADD_DELIVERIES.execute(connection, rows)
    return added


def _delivery_row(
    item: Stored, sink: str, state: str, due_at: float, owner: str | None
) -> dict[str, Any]:
    return {
        "change_id": item.id,
        "sink": sink,
        "lane": lane_of(item.change),
        "state": state,
        "attempts": 0,
        "due_at": due_at,
        "claimed_by": owner,
    }


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
    _SET_CURRENT.execute(
        connection,
        [
            {
                "id": fault_id,
                "status": item.change.status.value,
                "cleared_at": item.change.cleared_at,
                "last_change_id": item.id,
            }
            for fault_id, item in sorted(current.items())
        ],
    )


def _fault_row(latest: Stored) -> dict[str, Any]:
    change = latest.change
    return {
        "id": change.fault_id,
        "kind": change.kind.value,
        "severity": change.severity.value,
        "status": change.status.value,
        "instance_uuid": change.instance_uuid,
        "instance_name": change.instance_name,
        "host": change.host,
        "raised_at": change.raised_at,
        "cleared_at": change.cleared_at,
        "corrective_action": change.corrective_action,
        "last_change_id": latest.id,
    }


def _change_row(item: Stored) -> dict[str, Any]:
    change = item.change
    stages_ms = dict(change.stages_ms)
    controller_ms = ms_since(changed_at(change), item.at)
    if controller_ms is not None:
        stages_ms["controller"] = controller_ms
    return {
        "id": item.id,
        "fault_id": change.fault_id,
        "status": change.status.value,
        "detail": change.detail,
        "stages_ms": stages_ms,
    }


def changed_at(change: FaultChange) -> str:
    """The wall clock's time of detection, as the agent saw it."""
    return change.cleared_at or change.raised_at
