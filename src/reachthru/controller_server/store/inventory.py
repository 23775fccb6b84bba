"""Agents' reports into rows. Functions of a connection, for the database's thread."""

from typing import Any

from msgspec import Struct, structs
from sqlalchemy import Connection, Row, delete, insert, select, update

from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.store.queries import instance_of
from reachthru.controller_server.store.tables import OFFLINE, ONLINE, hosts, instances
from reachthru.protocol.agent_bus import AgentReport, InstanceReport


class Removed(Struct, frozen=True, kw_only=True):
    """An instance that is no longer on `host`."""

    uuid: str
    host: str
    removed: bool = True


class Changes(Struct):
    """What a report changed, for whoever follows: None and empty where nothing did."""

    host: Host | None = None
    instances: list[Instance | Removed] = []


def apply_report(connection: Connection, report: AgentReport, at: str) -> Changes:
    """`at` is when the report came, ISO 8601. A full report removes what it does not name."""
    changes = Changes(host=_apply_host(connection, report, at))
    known = {
        row.uuid: row
        for row in connection.execute(select(instances).where(instances.c.host == report.host))
    }
    for seen in {instance.uuid: instance for instance in report.instances}.values():
        old = known.get(seen.uuid)
        _put_instance(connection, report.host, seen, at, is_new=old is None)
        new = Instance(host=report.host, **structs.asdict(seen))
        if old is None or _differs(old, new):
            changes.instances.append(new)
    named = {instance.uuid for instance in report.instances}
    gone = (known.keys() - named) if report.full else (known.keys() & set(report.gone))
    for uuid in sorted(gone):
        connection.execute(
            delete(instances).where(instances.c.host == report.host, instances.c.uuid == uuid)
        )
        changes.instances.append(Removed(uuid=uuid, host=report.host))
    return changes


def set_offline(connection: Connection, host: str) -> Host | None:
    """The host as it is now; None if it was not online."""
    old = connection.execute(select(hosts).where(hosts.c.host == host)).one_or_none()
    if old is None or old.state == OFFLINE:
        return None
    connection.execute(update(hosts).where(hosts.c.host == host).values(state=OFFLINE))
    return Host(
        host=old.host,
        state=OFFLINE,
        agent_version=old.agent_version,
        guests=old.guests,
        lateness_ms=old.lateness_ms,
    )


def _apply_host(connection: Connection, report: AgentReport, at: str) -> Host | None:
    new = Host(
        host=report.host,
        state=ONLINE,
        agent_version=report.agent_version,
        guests=report.guests,
        lateness_ms=report.lateness_ms,
    )
    old = connection.execute(select(hosts).where(hosts.c.host == report.host)).one_or_none()
    values = structs.asdict(new) | {"reported_at": at}
    if old is None:
        connection.execute(insert(hosts), values)
        return new
    connection.execute(update(hosts).where(hosts.c.host == report.host).values(**values))
    same = (old.state, old.agent_version, old.guests) == (new.state, new.agent_version, new.guests)
    return None if same else new


def _put_instance(
    connection: Connection, host: str, seen: InstanceReport, at: str, *, is_new: bool
) -> None:
    values: dict[str, Any] = structs.asdict(seen) | {"host": host, "reported_at": at}
    if is_new:
        connection.execute(insert(instances), values)
        return
    connection.execute(
        update(instances)
        .where(instances.c.host == host, instances.c.uuid == seen.uuid)
        .values(**values)
    )


def _differs(old: Row[Any], new: Instance) -> bool:
    """Whether there is news: being seen again is none."""
    was = instance_of(old)
    return structs.replace(was, last_seen_at=None) != structs.replace(new, last_seen_at=None)
