"""Agents' reports into rows, for the next controller that starts. Functions of a connection."""

from collections.abc import Iterable
from typing import Any

from msgspec import structs
from sqlalchemy import Connection, bindparam, delete, select, update

from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.store.bulk import Insertion, Update
from reachthru.controller_server.store.tables import OFFLINE, ONLINE, hosts, instances
from reachthru.protocol.agent_bus import AgentReport, InstanceReport

_KEYS = ("host", "uuid")
_SEEN = ("name", "state", "interval_ms", "last_seen_at", "registered", "health", "reported_at")
_HOST = ("state", "agent_version", "guests", "lateness_ms", "reported_at", "said_goodbye")
_ADD_HOST = Insertion(hosts, ["host", *_HOST])
_SET_HOST = Update(hosts, ["host"], _HOST)
_ADD_INSTANCES = Insertion(instances, [*_KEYS, *_SEEN])
_SET_INSTANCES = Update(instances, _KEYS, _SEEN)


def store_report(connection: Connection, report: AgentReport, at: str) -> None:
    """`at` is when the report came, ISO 8601. A full report removes what it does not name."""
    _put_host(connection, report, at)
    if not (report.full or report.instances or report.gone):
        return
    known = set(connection.scalars(select(instances.c.uuid).where(instances.c.host == report.host)))
    named = {instance.uuid: instance for instance in report.instances}
    _put_instances(connection, report.host, named.values(), known, at)
    gone = (known - named.keys()) if report.full else (known & set(report.gone)) - named.keys()
    if gone:
        connection.execute(
            delete(instances).where(
                instances.c.host == report.host, instances.c.uuid == bindparam("gone")
            ),
            [{"gone": uuid} for uuid in sorted(gone)],
        )


def store_offline(connection: Connection, host: str, *, said_goodbye: bool) -> None:
    """A goodbye is remembered until the next report, whatever follows it."""
    values: dict[str, Any] = {"state": OFFLINE}
    if said_goodbye:
        values["said_goodbye"] = True
    connection.execute(update(hosts).where(hosts.c.host == host).values(**values))


def forget_host(connection: Connection, host: str) -> None:
    connection.execute(delete(instances).where(instances.c.host == host))
    connection.execute(delete(hosts).where(hosts.c.host == host))


def load_hosts(connection: Connection) -> tuple[list[Host], set[str]]:
    """All of them, and which of them said goodbye."""
    rows = connection.execute(select(hosts)).all()
    found = [
        Host(
            host=row.host,
            state=row.state,
            agent_version=row.agent_version,
            guests=row.guests,
            lateness_ms=row.lateness_ms,
        )
        for row in rows
    ]
    return found, {row.host for row in rows if row.said_goodbye}


def load_instances(connection: Connection) -> list[Instance]:
    """As each host told of them, what was told last at the end."""
    rows = connection.execute(select(instances).order_by(instances.c.reported_at))
    return [
        Instance(
            uuid=row.uuid,
            name=row.name,
            host=row.host,
            state=row.state,
            interval_ms=row.interval_ms,
            last_seen_at=row.last_seen_at,
            registered=row.registered,
            health=row.health,
        )
        for row in rows
    ]


def _put_host(connection: Connection, report: AgentReport, at: str) -> None:
    row = {
        "host": report.host,
        "state": ONLINE,
        "agent_version": report.agent_version,
        "guests": report.guests,
        "lateness_ms": report.lateness_ms,
        "reported_at": at,
        "said_goodbye": False,
    }
    if not _SET_HOST.execute(connection, [row]):
        _ADD_HOST.execute(connection, [row])


def _put_instances(
    connection: Connection, host: str, seen: Iterable[InstanceReport], known: set[str], at: str
) -> None:
    rows = [
        {name: value for name, value in structs.asdict(instance).items() if name in instances.c}
        | {"host": host, "reported_at": at}
        for instance in seen
    ]
    _ADD_INSTANCES.execute(connection, [row for row in rows if row["uuid"] not in known])
    _SET_INSTANCES.execute(connection, [row for row in rows if row["uuid"] in known])
