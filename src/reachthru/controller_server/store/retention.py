"""Old history goes: cleared faults that every sink was told of, the oldest first.

Functions of a connection, for the database's thread.
"""

from collections.abc import Collection

from msgspec import Struct
from sqlalchemy import Connection, delete, func, select

from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.deliveries import is_pending
from reachthru.controller_server.store.tables import deliveries, fault_changes, faults
from reachthru.protocol.faults import FaultStatus


class Forgotten(Struct, frozen=True):
    """`faults` were forgotten. `after_id`: behind it there may be more; None: there is no more."""

    faults: int
    after_id: int | None


def count_cleared(connection: Connection) -> int:
    return connection.execute(
        select(func.count()).where(faults.c.status == FaultStatus.CLEARED.value)
    ).scalar_one()


def forget_cleared(
    connection: Connection,
    sinks: Collection[str],
    after_id: int,
    limit: int,
    older_than_s: float = 0.0,
) -> Forgotten:
    """Looks at the `limit` oldest cleared faults behind change `after_id`, in order of clearing.

    One that was cleared later than `older_than_s` seconds ago ends it; one that a sink of `sinks`
    was not told of stays.
    """
    query = (
        select(faults.c.id, faults.c.last_change_id, fault_changes.c.stored_at)
        .join_from(faults, fault_changes, fault_changes.c.id == faults.c.last_change_id)
        .where(faults.c.status == FaultStatus.CLEARED.value, faults.c.last_change_id > after_id)
        .order_by(faults.c.last_change_id)
        .limit(limit)
        .with_for_update(of=faults, skip_locked=True)
    )
    oldest = connection.execute(query).all()
    # Before version 0002 nobody noted the time: those are as old as they are.
    before = now_s(connection) - older_than_s
    old = [row for row in oldest if row.stored_at is None or row.stored_at <= before]
    changes = select(fault_changes.c.id, fault_changes.c.fault_id).where(
        fault_changes.c.fault_id.in_([row.id for row in old])
    )
    by_change = {row.id: row.fault_id for row in connection.execute(changes)}
    waiting = connection.scalars(
        select(deliveries.c.change_id).where(
            deliveries.c.change_id.in_(by_change), deliveries.c.sink.in_(sinks), is_pending
        )
    )
    kept = {by_change[change_id] for change_id in waiting}
    gone = {fault_id for fault_id in by_change.values() if fault_id not in kept}
    gone_changes = [change_id for change_id, fault_id in by_change.items() if fault_id in gone]
    if gone:
        connection.execute(delete(deliveries).where(deliveries.c.change_id.in_(gone_changes)))
        connection.execute(delete(fault_changes).where(fault_changes.c.id.in_(gone_changes)))
        connection.execute(delete(faults).where(faults.c.id.in_(gone)))
    more = len(old) == limit
    return Forgotten(len(gone), old[-1].last_change_id if more else None)
