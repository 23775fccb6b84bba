"""Hosts that are lost, and the faults of their instances. Functions of a connection.

An instance's fault belongs to its host's loss if it was raised while the host was lost, or so
shortly before its last report that the one may have come of the other.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from sqlalchemy import Connection, bindparam, or_, select

from reachthru.controller_server.model import iso, utc
from reachthru.controller_server.store.bulk import Statement, Update
from reachthru.controller_server.store.changes import Added, Arrived, Stored, add_changes
from reachthru.controller_server.store.tables import fault_changes, faults
from reachthru.controller_server.store.tail import load_changes
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus

BEFORE_S = 60.0  # before the host's last report
# What an agent brings when it is back was raised before; it brings it within this.
LATE_S = 3600.0

_SET_INSTANCES = Update(faults, ["id"], ["instances"])
_SET_CAUSE = Update(faults, ["id"], ["correlated_to"])
_RAISED_AT = Statement(
    lambda among: select(faults.c.id, faults.c.host, faults.c.raised_at).where(
        among(faults.c.host, "hosts"),
        faults.c.status == FaultStatus.RAISED.value,
        faults.c.instance_uuid != "",
    )
)


# Made once: SQLAlchemy takes longer to make a statement than to have it executed.
_OF_HOSTS = (
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
_OF_LOST_HOSTS = _OF_HOSTS.where(faults.c.status == FaultStatus.RAISED.value)
_OUTAGES = _OF_HOSTS.where(
    or_(faults.c.status == FaultStatus.RAISED.value, faults.c.cleared_at >= bindparam("recent"))
).order_by(faults.c.last_change_id)


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


def lose_hosts(connection: Connection, losses: Sequence[Loss], sinks: Collection[str]) -> Added:
    """Raises one fault for each host that has none yet; its instances' faults go under it."""
    lost = {row.host for row in connection.execute(_OF_LOST_HOSTS)}
    new = [loss for loss in losses if loss.arrived.change.host not in lost]
    added = add_changes(connection, [loss.arrived for loss in new], sinks)
    _SET_INSTANCES.execute(
        connection,
        [{"id": loss.arrived.change.fault_id, "instances": loss.instances} for loss in new],
    )
    hosts = [loss.arrived.change.host for loss in new]
    raised: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in connection.execute(_RAISED_AT.of(connection), {"hosts": hosts}) if hosts else ():
        raised[row.host].append((row.id, row.raised_at))
    _put_under(connection, raised)
    return added


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
    _put_under(connection, raised)


def _put_under(connection: Connection, raised: Mapping[str, list[tuple[str, str]]]) -> None:
    """`raised`: faults of instances, (id, raised_at), by host."""
    if not raised:
        return
    under = {}
    for outage in _outages(connection, raised):
        for fault_id, raised_at in raised[outage.host]:
            moment = utc(raised_at)
            if moment is not None and outage.covers(moment):
                under[fault_id] = outage.fault_id
    _SET_CAUSE.execute(
        connection, [{"id": id, "correlated_to": cause} for id, cause in sorted(under.items())]
    )


def _outages(connection: Connection, hosts: Iterable[str]) -> list[Outage]:
    """Those that go on, and those that ended not long ago."""
    recent = iso(datetime.now(UTC) - timedelta(seconds=LATE_S))
    wanted, found = set(hosts), []
    for row in connection.execute(_OUTAGES, {"recent": recent}):
        raised = utc(row.raised_at)
        if raised is not None and row.host in wanted:
            silence = timedelta(milliseconds=-row.stages_ms.get("last_good", 0.0))
            since = raised - silence - timedelta(seconds=BEFORE_S)
            cleared = utc(row.cleared_at) if row.cleared_at else None
            found.append(Outage(row.id, row.host, since, cleared))
    return found
