"""Sinks that are enabled when faults are active already. A function of a connection."""

from sqlalchemy import Connection, and_, insert, or_, select

from reachthru.controller_server.model import lane_of
from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.deliveries import BEHIND_S
from reachthru.controller_server.store.tables import PENDING, deliveries, fault_changes, faults
from reachthru.protocol.faults import FaultStatus


def catch_up(connection: Connection, sink: str, limit: int, cleared_within_s: float | None) -> int:
    """Makes up to `limit` deliveries that `sink` lacks; returns how many.

    It is to hear of faults that are active, and of the end of those of whose beginning it heard;
    of those that ended within the last `cleared_within_s` (None: ever).
    """
    now = now_s(connection)
    mine = deliveries.alias("mine")
    earlier = fault_changes.alias("earlier")
    is_told_of = (
        select(earlier.c.id)
        .join_from(earlier, mine, and_(mine.c.change_id == earlier.c.id, mine.c.sink == sink))
        .where(earlier.c.fault_id == faults.c.id)
        .exists()
    )
    ended = and_(faults.c.status == FaultStatus.CLEARED.value, is_told_of)
    if cleared_within_s is not None:
        ended = and_(fault_changes.c.stored_at > now - cleared_within_s, ended)
    rows = connection.execute(
        select(faults.c.last_change_id, faults.c.instance_uuid, faults.c.host)
        .join_from(faults, fault_changes, fault_changes.c.id == faults.c.last_change_id)
        .outerjoin(
            deliveries,
            and_(deliveries.c.change_id == faults.c.last_change_id, deliveries.c.sink == sink),
        )
        .where(
            deliveries.c.change_id.is_(None),
            faults.c.maintenance.is_(None),
            or_(faults.c.status == FaultStatus.RAISED.value, ended),
        )
        .order_by(faults.c.last_change_id)
        .limit(limit)
        # A fault that is being cleared must not be raised behind that.
        .with_for_update(of=faults, skip_locked=True)
    ).all()
    lanes: set[str] = set()
    new = []
    for row in rows:
        lane = lane_of(row)
        new.append(
            {
                "change_id": row.last_change_id,
                "sink": sink,
                "lane": lane,
                "state": PENDING,
                "attempts": 0,
                "due_at": now + BEHIND_S if lane in lanes else now,
            }
        )
        lanes.add(lane)
    if new:
        connection.execute(insert(deliveries), new)
    return len(new)
