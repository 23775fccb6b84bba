"""What agents say of hosts and instances, in memory: who is where, and how; what is wrong.

The database has the same, for the next controller that starts; this answers at once.
"""

import itertools
from collections.abc import Callable, Iterable

from msgspec import Struct, structs

from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.store.tables import OFFLINE, ONLINE
from reachthru.protocol.agent_bus import AgentReport, FaultChange
from reachthru.protocol.faults import Condition, FaultKind, FaultStatus


class Seen(Struct):
    """An instance as one host's agent sees it.

    `order` grows with each change of its state, `told` each time that the agent tells of it.
    """

    instance: Instance
    order: int
    told: int

    @property
    def uuid(self) -> str:
        return self.instance.uuid

    @property
    def name(self) -> str:
        return self.instance.name

    @property
    def host(self) -> str:
        return self.instance.host

    @property
    def state(self) -> str:
        return self.instance.state


class Removed(Struct, frozen=True, kw_only=True):
    """An instance that is no longer on `host`."""

    uuid: str
    host: str
    removed: bool = True


class Changes(Struct):
    """What a report changed, for whoever follows: None and empty where nothing did."""

    host: Host | None = None
    instances: list[Instance | Removed] = []


class Census:
    """`listeners` are called with the uuid of an instance of which something has changed.

    And with the moment of it by the wall clock of whoever saw it, which is the same on every
    controller.
    """

    def __init__(self) -> None:
        self.listeners: list[Callable[[str, str], None]] = []
        self._order = itertools.count()
        self._hosts: dict[str, Host] = {}
        self._seen: dict[str, dict[str, Seen]] = {}  # by instance, by host
        self._by_host: dict[str, dict[str, Seen]] = {}
        self._faults: dict[str, dict[str, FaultKind]] = {}  # active ones, by instance, by id

    # --- questions ---------------------------------------------------------------------------

    def hosts(self) -> list[Host]:
        return sorted(self._hosts.values(), key=lambda host: host.host)

    def instances(self) -> list[Instance]:
        """Every instance once, by uuid."""
        return [self._best_known(uuid) for uuid in sorted(self._seen)]

    def instance(self, uuid: str) -> Instance | None:
        return self._best_known(uuid) if uuid in self._seen else None

    def carried_by(self, host: str) -> list[Instance]:
        """By uuid."""
        return [seen.instance for _uuid, seen in sorted(self._by_host.get(host, {}).items())]

    def carries(self, host: str, uuid: str) -> bool:
        """Whether the agent of `host` says that it has the instance."""
        return host in self._seen.get(uuid, {})

    def is_carried(self, uuid: str) -> bool:
        """Whether any agent says that it has the instance."""
        return uuid in self._seen

    def find(self, uuid: str, *, prefer: str | None = None) -> Seen | None:
        """The instance where it is best reached.

        While it moves, two hosts have it: the one where it runs, or the one that said so last. If
        both say that it runs there, `prefer` has it, which is where Nova knows it to be.
        """

        def reach(seen: Seen) -> tuple[bool, bool, bool, int]:
            runs = seen.state == Condition.RUNNING
            return (self.is_online(seen.host), runs, seen.host == prefer, seen.order)

        return max(self._seen.get(uuid, {}).values(), key=reach, default=None)

    def is_online(self, host: str) -> bool:
        found = self._hosts.get(host)
        return found is not None and found.state == ONLINE

    def faults(self, uuid: str) -> list[FaultKind]:
        return list(self._faults.get(uuid, {}).values())

    def _best_known(self, uuid: str) -> Instance:
        """Where two hosts tell of it, the host where it is registered.

        If that is both or neither (a migration), the host that told of it last.
        """
        return max(
            self._seen[uuid].values(), key=lambda seen: (seen.instance.registered, seen.told)
        ).instance

    # --- news --------------------------------------------------------------------------------

    def load(self, hosts: Iterable[Host], instances: Iterable[Instance]) -> None:
        """What an earlier controller knew, what it was told last at the end. Nobody is told."""
        for host in hosts:
            self._hosts[host.host] = host
        for instance in instances:
            self._put(instance)

    def load_fault(self, uuid: str, fault_id: str, kind: FaultKind) -> None:
        self._faults.setdefault(uuid, {})[fault_id] = kind

    def take_report(self, report: AgentReport) -> Changes:
        changes = Changes(host=self._put_host(report))
        known = self._by_host.get(report.host, {})
        named = {instance.uuid for instance in report.instances}
        gone = (known.keys() - named) if report.full else (known.keys() & set(report.gone) - named)
        changed = []
        for seen in report.instances:
            instance = Instance(host=report.host, **structs.asdict(seen))
            old = self._put(instance)
            if old is None or _is_news(old, instance):
                changes.instances.append(instance)
            if old is None or (old.name, old.state) != (instance.name, instance.state):
                changed.append(instance.uuid)
        for uuid in sorted(gone):
            self._remove(report.host, uuid)
            changes.instances.append(Removed(uuid=uuid, host=report.host))
            changed.append(uuid)
        self._tell(changed, report.sent_at)
        return changes

    def take_offline(self, host: str) -> Host | None:
        """The host as it is now; None if it was not online."""
        if not self.is_online(host):
            return None
        self._hosts[host] = structs.replace(self._hosts[host], state=OFFLINE)
        return self._hosts[host]

    def forget(self, host: str, at: str) -> list[Removed]:
        """The host is gone for good, with what it carried. `at` is when that was said."""
        self._hosts.pop(host, None)
        gone = sorted(self._by_host.get(host, {}))
        for uuid in gone:
            self._remove(host, uuid)
        self._by_host.pop(host, None)
        self._tell(gone, at)
        return [Removed(uuid=uuid, host=host) for uuid in gone]

    def take_faults(self, changes: Iterable[FaultChange]) -> None:
        """Changes that are new, in order for each instance."""
        for change in changes:
            active = self._faults.setdefault(change.instance_uuid, {})
            if change.status is FaultStatus.RAISED:
                active[change.fault_id] = change.kind
            else:
                active.pop(change.fault_id, None)
            if not active:
                del self._faults[change.instance_uuid]
            self._tell([change.instance_uuid], change.cleared_at or change.raised_at)

    def _put_host(self, report: AgentReport) -> Host | None:
        """The host, if there is news of it."""
        old = self._hosts.get(report.host)
        new = self._hosts[report.host] = Host(
            host=report.host,
            state=ONLINE,
            agent_version=report.agent_version,
            guests=report.guests,
            lateness_ms=report.lateness_ms,
            waiting=report.waiting,
            outbox_durable=report.outbox_durable,
        )
        if old is None:
            return new
        same = structs.replace(old, lateness_ms=new.lateness_ms, waiting=new.waiting) == new
        return None if same else new

    def _put(self, instance: Instance) -> Instance | None:
        """What was known of it on this host."""
        hosts = self._seen.setdefault(instance.uuid, {})
        old = hosts.get(instance.host)
        told = next(self._order)
        as_before = old is not None and (old.name, old.state) == (instance.name, instance.state)
        seen = Seen(instance, old.order if old is not None and as_before else told, told)
        hosts[instance.host] = seen
        self._by_host.setdefault(instance.host, {})[instance.uuid] = seen
        return None if old is None else old.instance

    def _remove(self, host: str, uuid: str) -> None:
        del self._by_host[host][uuid]
        del self._seen[uuid][host]
        if not self._seen[uuid]:
            del self._seen[uuid]

    def _tell(self, changed: Iterable[str], at: str) -> None:
        for uuid in changed:
            for listener in self.listeners:
                listener(uuid, at)


def _is_news(old: Instance, new: Instance) -> bool:
    """Being seen again is none."""
    return structs.replace(old, last_seen_at=new.last_seen_at) != new
