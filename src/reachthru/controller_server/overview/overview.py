"""What an operator sees first, from memory."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

import reachthru
from reachthru.controller_server.groups.base import Group
from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.overview import verdicts
from reachthru.controller_server.overview.model import Summary
from reachthru.controller_server.overview.verdicts import RANK, Verdict
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.tables import ONLINE
from reachthru.protocol.faults import CATALOGUE, FaultKind

# However many ask, a fifth of the time goes into looking: with 10,000 guests one look takes tens of
# milliseconds, and what was seen serves for some 200. A page asks later than that after news.
REST_SHARE = 4.0

Subject = TypeVar("Subject", bound=Instance | Host | Group)
Seen = TypeVar("Seen")


class Judged(Struct, Generic[Subject], frozen=True):
    subject: Subject
    verdict: Verdict
    faults: Sequence[FaultKind] = ()  # of an instance: the active ones
    guests: Mapping[Verdict, int] = {}  # of a host: how many are how


class Overview:
    def __init__(
        self, controller: ControllerState, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._controller = controller
        self._instances = _Look(self._look_at_instances, clock)
        self._hosts = _Look(self._look_at_hosts, clock)
        self._groups = _Look(self._look_at_groups, clock)

    def instances(self) -> list[Judged[Instance]]:
        """By uuid."""
        return self._instances.seen()

    def instance(self, uuid: str) -> Judged[Instance] | None:
        """As it is this moment."""
        found = self._controller.inventory.instance(uuid)
        return None if found is None else self._judge_instance(found, self._online_hosts())

    def hosts(self) -> list[Judged[Host]]:
        """By name."""
        return self._hosts.seen()

    def groups(self) -> list[Judged[Group]]:
        return self._groups.seen()

    def summary(self) -> Summary:
        controller = self._controller
        severities: Counter[str] = Counter()
        for kind, count in controller.inventory.active_kinds().items():
            severities[CATALOGUE[kind].severity.value] += count
        return Summary(
            version=reachthru.__version__,
            role="leader" if controller.leadership.leads() else "follower",
            instances=_counted(self.instances()),
            hosts=_counted(self.hosts()),
            groups=_counted(self.groups()),
            faults=dict(severities),
            groups_stale=controller.groups.stale,
        )

    def judge_members(self, group: Group) -> dict[str, Verdict]:
        """Its members' verdicts, of those that agents know, by uuid."""
        online = self._online_hosts()
        found = (self._controller.inventory.instance(member.uuid) for member in group.members)
        return {
            instance.uuid: self._judge_instance(instance, online).verdict
            for instance in found
            if instance is not None
        }

    def _look_at_instances(self) -> list[Judged[Instance]]:
        online = self._online_hosts()
        found = self._controller.inventory.instances()
        return [self._judge_instance(instance, online) for instance in found]

    def _judge_instance(self, instance: Instance, online: set[str]) -> Judged[Instance]:
        faults = self._controller.inventory.active_faults(instance.uuid)
        verdict = verdicts.of_instance(instance, faults, watched=instance.host in online)
        return Judged(instance, verdict, faults)

    def _online_hosts(self) -> set[str]:
        return {host.host for host in self._controller.inventory.hosts() if host.state == ONLINE}

    def _look_at_hosts(self) -> list[Judged[Host]]:
        guests: dict[str, Counter[Verdict]] = {}
        for judged in self.instances():
            guests.setdefault(judged.subject.host, Counter())[judged.verdict] += 1
        found = []
        for host in self._controller.inventory.hosts():
            of_host = guests.get(host.host, Counter())
            lost = self._controller.watch.is_lost(host.host)
            verdict = verdicts.of_host(host, of_host, lost=lost)
            found.append(Judged(host, verdict, guests=of_host))
        return found

    def _look_at_groups(self) -> list[Judged[Group]]:
        known = {judged.subject.uuid: judged.verdict for judged in self.instances()}
        return [
            Judged(group, verdicts.of_group(group, known))
            for group in self._controller.groups.groups()
        ]


class _Look(Generic[Seen]):
    """What was seen last, until it is time to look again."""

    def __init__(self, look: Callable[[], list[Seen]], clock: Callable[[], float]) -> None:
        self._look = look
        self._clock = clock
        self._seen: list[Seen] = []
        self._rests_until = float("-inf")

    def seen(self) -> list[Seen]:
        began = self._clock()
        if began >= self._rests_until:
            self._seen = self._look()
            ended = self._clock()
            self._rests_until = ended + REST_SHARE * (ended - began)
        return self._seen


def _counted(found: Sequence[Judged[Subject]]) -> dict[str, int]:
    counts = Counter(judged.verdict for judged in found)
    return {verdict.value: counts[verdict] for verdict in RANK}
