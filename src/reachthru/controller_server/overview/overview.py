"""What an operator sees first, from memory."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Generic, TypeVar

from msgspec import Struct

import reachthru
from reachthru.controller_server.groups.base import Group, Outline
from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.overview import verdicts
from reachthru.controller_server.overview.model import Summary
from reachthru.controller_server.overview.verdicts import RANK, Verdict
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.tables import ONLINE
from reachthru.protocol.faults import CATALOGUE, FaultKind

# However many ask, a fifth of the time goes into looking: with 10,000 guests one look takes tens of
# milliseconds. Who asks after news waits until it is time; what is no news may be so old.
REST_SHARE = 4.0
AGE_LIMIT_S = 2.0

Subject = TypeVar("Subject", bound=Instance | Host | Outline)
Seen = TypeVar("Seen")


_NOBODY: Mapping[Verdict, int] = MappingProxyType({})


# Nothing in it refers back to it, and 10,000 of them would wake the collector each time.
class Judged(Struct, Generic[Subject], frozen=True, gc=False):
    subject: Subject
    verdict: Verdict
    faults: Sequence[FaultKind] = ()  # of an instance: the active ones
    guests: Mapping[Verdict, int] = _NOBODY  # of a host: how many are how


class Overview:
    def __init__(self, controller: ControllerState) -> None:
        self._controller = controller
        self._instances = Look(self._look_at_instances, self._revision, AGE_LIMIT_S)
        self._hosts = Look(self._look_at_hosts, self._revision, AGE_LIMIT_S)
        # Nobody says when their source has changed.
        self._groups = Look(self._look_at_groups, self._revision, age_limit_s=0.0)

    async def instances(self) -> list[Judged[Instance]]:
        """By uuid."""
        return await self._instances.seen()

    def instance(self, uuid: str) -> Judged[Instance] | None:
        """As it is this moment."""
        found = self._controller.inventory.instance(uuid)
        return None if found is None else self._judge_instance(found, self._online_hosts())

    async def hosts(self) -> list[Judged[Host]]:
        """By name."""
        return await self._hosts.seen()

    async def groups(self) -> list[Judged[Outline]]:
        return await self._groups.seen()

    async def summary(self) -> Summary:
        controller = self._controller
        severities: Counter[str] = Counter()
        for kind, count in controller.inventory.active_kinds().items():
            severities[CATALOGUE[kind].severity.value] += count
        return Summary(
            version=reachthru.__version__,
            role="leader" if controller.leadership.leads() else "follower",
            instances=_counted(await self.instances()),
            hosts=_counted(await self.hosts()),
            groups=_counted(await self.groups()),
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

    def _revision(self) -> int:
        return self._controller.inventory.revision

    async def _look_at_instances(self) -> list[Judged[Instance]]:
        online = self._online_hosts()
        found = self._controller.inventory.instances()
        return [self._judge_instance(instance, online) for instance in found]

    def _judge_instance(self, instance: Instance, online: set[str]) -> Judged[Instance]:
        faults = self._controller.inventory.active_faults(instance.uuid)
        verdict = verdicts.of_instance(instance, faults, watched=instance.host in online)
        return Judged(instance, verdict, faults)

    def _online_hosts(self) -> set[str]:
        return {host.host for host in self._controller.inventory.hosts() if host.state == ONLINE}

    async def _look_at_hosts(self) -> list[Judged[Host]]:
        guests: dict[str, Counter[Verdict]] = {}
        for judged in await self.instances():
            guests.setdefault(judged.subject.host, Counter())[judged.verdict] += 1
        found = []
        for host in self._controller.inventory.hosts():
            of_host = guests.get(host.host, Counter())
            lost = self._controller.watch.is_lost(host.host)
            verdict = verdicts.of_host(host, of_host, lost=lost)
            found.append(Judged(host, verdict, guests=of_host))
        return found

    async def _look_at_groups(self) -> list[Judged[Outline]]:
        known = {judged.subject.uuid: judged.verdict for judged in await self.instances()}
        return [
            Judged(group, verdicts.of_group(group, known))
            for group in self._controller.groups.outlines()
        ]


class Look(Generic[Seen]):
    """What was seen last, until there is news of it or it is too old, and it is time to look."""

    def __init__(
        self,
        look: Callable[[], Awaitable[list[Seen]]],
        revision: Callable[[], int],
        age_limit_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._look = look
        self._revision = revision
        self._age_limit_s = age_limit_s
        self._clock = clock
        self._sleep = sleep
        self._lock = asyncio.Lock()
        self._seen: list[Seen] = []
        self._seen_revision = -1
        self._looked_at = float("-inf")
        self._rests_until = float("-inf")

    async def seen(self) -> list[Seen]:
        async with self._lock:
            now = self._clock()
            if self._seen_revision != self._revision():
                await self._sleep(max(0.0, self._rests_until - now))
                await self._look_anew()
            elif now >= max(self._rests_until, self._looked_at + self._age_limit_s):
                await self._look_anew()
            return self._seen

    async def _look_anew(self) -> None:
        began = self._looked_at = self._clock()
        self._seen_revision = self._revision()
        self._seen = await self._look()
        ended = self._clock()
        self._rests_until = ended + REST_SHARE * (ended - began)


def _counted(found: Sequence[Judged[Subject]]) -> dict[str, int]:
    counts = Counter(judged.verdict for judged in found)
    return {verdict.value: counts[verdict] for verdict in RANK}
