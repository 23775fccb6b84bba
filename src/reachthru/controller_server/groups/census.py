"""What agents say of instances, in memory: who is where, how they are, what is wrong with them.

The database has the same, for people; this answers at once, for every group message.
"""

import itertools
from collections.abc import Callable, Iterable

from msgspec import Struct

from reachthru.protocol.agent_bus import AgentOffline, AgentReport, FaultChange, InstanceReport
from reachthru.protocol.faults import Condition, FaultKind, FaultStatus


class Seen(Struct):
    """An instance as one host's agent sees it. `order` grows with each change of state."""

    uuid: str
    name: str
    host: str
    state: str  # a Condition
    order: int


class Census:
    """`listeners` are called with the uuid of an instance of which something has changed."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[str], None]] = []
        self._order = itertools.count()
        self._seen: dict[str, dict[str, Seen]] = {}  # by instance, by host
        self._by_host: dict[str, set[str]] = {}
        self._offline: set[str] = set()
        self._faults: dict[str, dict[str, FaultKind]] = {}  # active ones, by instance, by id

    # --- questions ---------------------------------------------------------------------------

    def carries(self, host: str, uuid: str) -> bool:
        """Whether the agent of `host` says that it has the instance."""
        return host in self._seen.get(uuid, {})

    def find(self, uuid: str) -> Seen | None:
        """The instance where it is best reached.

        While it moves, two hosts have it: the one where it runs, or the one that said so last.
        """
        return max(self._seen.get(uuid, {}).values(), key=self._reach, default=None)

    def is_online(self, host: str) -> bool:
        return host in self._by_host and host not in self._offline

    def faults(self, uuid: str) -> list[FaultKind]:
        return list(self._faults.get(uuid, {}).values())

    def _reach(self, seen: Seen) -> tuple[bool, bool, int]:
        return (seen.host not in self._offline, seen.state == Condition.RUNNING, seen.order)

    # --- news --------------------------------------------------------------------------------

    def load(self, host: str, instances: Iterable[InstanceReport], *, online: bool) -> None:
        """What an earlier controller knew of `host`. Nobody is told."""
        self._by_host.setdefault(host, set())
        if not online:
            self._offline.add(host)
        for instance in instances:
            self._put(host, instance)

    def load_fault(self, uuid: str, fault_id: str, kind: FaultKind) -> None:
        self._faults.setdefault(uuid, {})[fault_id] = kind

    def take_report(self, report: AgentReport) -> None:
        host = report.host
        self._offline.discard(host)
        known = self._by_host.setdefault(host, set())
        named = {instance.uuid for instance in report.instances}
        gone = (known - named) if report.full else (known & set(report.gone) - named)
        changed = [instance.uuid for instance in report.instances if self._put(host, instance)]
        for uuid in sorted(gone):
            known.discard(uuid)
            self._seen[uuid].pop(host)
            if not self._seen[uuid]:
                del self._seen[uuid]
            changed.append(uuid)
        self._tell(changed)

    def take_offline(self, word: AgentOffline) -> None:
        if word.host in self._by_host:
            self._offline.add(word.host)

    def take_faults(self, changes: Iterable[FaultChange]) -> None:
        """Changes that are new, in order for each instance."""
        changed = []
        for change in changes:
            active = self._faults.setdefault(change.instance_uuid, {})
            if change.status is FaultStatus.RAISED:
                active[change.fault_id] = change.kind
            else:
                active.pop(change.fault_id, None)
            if not active:
                del self._faults[change.instance_uuid]
            changed.append(change.instance_uuid)
        self._tell(changed)

    def _put(self, host: str, instance: InstanceReport) -> bool:
        """True, if there is news."""
        hosts = self._seen.setdefault(instance.uuid, {})
        old = hosts.get(host)
        if old is not None and (old.name, old.state) == (instance.name, instance.state):
            return False
        self._by_host[host].add(instance.uuid)
        hosts[host] = Seen(
            uuid=instance.uuid,
            name=instance.name,
            host=host,
            state=instance.state,
            order=next(self._order),
        )
        return True

    def _tell(self, changed: Iterable[str]) -> None:
        for uuid in changed:
            for listener in self.listeners:
                listener(uuid)
