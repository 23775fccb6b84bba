"""Hosts that are lost, and the faults of their instances. Functions of a connection.

An instance's fault belongs to its host's loss if it was raised while the host was lost, or so
shortly before its last report that the one may have come of the other.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Select, or_, select, update

from reachthru.controller_server.model import iso, utc
from reachthru.controller_server.store.changes import Arrived, Stored, add_changes
from reachthru.controller_server.store.tables import fault_changes, faults
from reachthru.controller_server.store.tail import load_changes
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus

BEFORE_S = 60.0  # before the host's last report
# What an agent brings when it is back was raised before; it brings it within this.
LATE_S = 3600.0


class Outage(Struct, frozen=True):
    """`since` is a little before the host's last report; `until` is None while it is lost."""

    fault_id: str
    host: str
    since: datetime
    until: datetime | None

    def covers(self, moment: datetime) -> bool:
        return self.since <= moment and (self.until is None or moment <= self.until)


class Loss(Struct, frozen=True):
    """A `host_lost` that is raised, and the instances that the host carried."""

    arrived: Arrived
    instances: list[str]


def lose_hosts(
    connection: Connection, losses: Sequence[Loss], sinks: Collection[str]
) -> list[Stored]:
    """Raises one fault for each host that has none yet; its instances' faults go under it."""
    rows = connection.execute(_host_faults().where(faults.c.status == FaultStatus.RAISED.value))
    lost = {row.host for row in rows}
    new = [loss for loss in losses if loss.arrived.change.host not in lost]
    stored = add_changes(connection, [loss.arrived for loss in new], sinks).stored
    for loss in new:
        change = loss.arrived.change
        connection.execute(
            update(faults).where(faults.c.id == change.fault_id).values(instances=loss.instances)
        )
        rows = connection.execute(
            select(faults.c.id, faults.c.raised_at).where(
                faults.c.host == change.host,
                faults.c.status == FaultStatus.RAISED.value,
                faults.c.instance_uuid != "",
            )
        )
        _put_under(connection, _outages(connection, [change.host]), change.host, rows)
    return stored


def active_faults(connection: Connection) -> list[FaultChange]:
    """Every fault that is raised."""
    rows = connection.scalars(
        select(faults.c.last_change_id).where(faults.c.status == FaultStatus.RAISED.value)
    )
    return load_changes(connection, rows.all())


def correlate(connection: Connection, stored: Sequence[Stored]) -> None:
    """Puts new faults of instances under the loss of their host, if that is what they are of."""
    raised: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for item in stored:
        change = item.change
        if change.status is FaultStatus.RAISED and change.instance_uuid:
            raised[change.host].append((change.fault_id, change.raised_at))
    if not raised:
        return
    outages = _outages(connection, raised)
    for host in {outage.host for outage in outages}:
        _put_under(connection, outages, host, raised[host])


def _put_under(
    connection: Connection,
    outages: Sequence[Outage],
    host: str,
    raised: Iterable[tuple[str, str]],
) -> None:
    """`raised`: faults of the host's instances, (id, raised_at)."""
    for fault_id, raised_at in raised:
        moment = utc(raised_at)
        for outage in outages:
            if outage.host == host and moment is not None and outage.covers(moment):
                connection.execute(
                    update(faults)
                    .where(faults.c.id == fault_id)
                    .values(correlated_to=outage.fault_id)
                )


def _outages(connection: Connection, hosts: Iterable[str]) -> list[Outage]:
    """Those that go on, and those that ended not long ago."""
    recent = iso(datetime.now(UTC) - timedelta(seconds=LATE_S))
    rows = connection.execute(
        _host_faults()
        .where(or_(faults.c.status == FaultStatus.RAISED.value, faults.c.cleared_at >= recent))
        .order_by(faults.c.last_change_id)
    )
    wanted, found = set(hosts), []
    for row in rows:
        raised = utc(row.raised_at)
        if raised is not None and row.host in wanted:
            silence = timedelta(milliseconds=-row.stages_ms.get("last_good", 0.0))
            since = raised - silence - timedelta(seconds=BEFORE_S)
            cleared = utc(row.cleared_at) if row.cleared_at else None
            found.append(Outage(row.id, row.host, since, cleared))
    return found


def _host_faults() -> Select[Any]:
    return (
        select(
            faults.c.id,
            faults.c.host,
            faults.c.raised_at,
            faults.c.cleared_at,
            fault_changes.c.stages_ms,
        )
        .join(fault_changes, fault_changes.c.fault_id == faults.c.id)
        .where(fault_changes.c.status == FaultStatus.RAISED.value)
        .where(faults.c.kind == FaultKind.HOST_LOST.value)
        .where(faults.c.instance_uuid == "")  # which has an index, and these few only
    )
