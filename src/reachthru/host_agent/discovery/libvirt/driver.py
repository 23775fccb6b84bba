"""The libvirt driver: keeps a connection, and turns libvirt's news into what the agent must know.

News of one domain are kept in order, though some need a look at the domain first: while it is
being looked at, what comes for it waits. News of other domains do not.
"""

import asyncio
import errno
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import libvirt

from reachthru.host_agent.discovery.base import Discovery, Sink
from reachthru.host_agent.discovery.libvirt import conditions
from reachthru.host_agent.discovery.libvirt.connection import (
    Connection,
    LibvirtUnavailableError,
    Snapshot,
)
from reachthru.host_agent.discovery.libvirt.domain_xml import DomainFacts
from reachthru.host_agent.discovery.libvirt.hotplug import Hotplug
from reachthru.protocol.faults import EXCUSED, Condition

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0
# A socket that died is explained by libvirt: on a healthy node in 10 ms, where it has to end QEMU
# itself in some hundred.
KILLED_SETTLE_S = 0.060
ENDED_SETTLE_S = 0.500
# libvirt says that a domain was paused, and some milliseconds later its state says what for.
REASON_DELAY_S = 0.050
# QEMU holds back what happens to a port within a second of its last event.
OLDEST_NEWS_S = 5.0
_MIGRATION: dict[str, Condition] = {
    "active": Condition.MIGRATING,
    "pre-switchover": Condition.MIGRATING,
    "device": Condition.MIGRATING,
    "postcopy-active": Condition.POST_COPY,
}
_MIGRATION_ENDS = ("completed", "failed", "cancelled")

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Domain:
    uuid: str
    known: bool = False  # the agent was told of it
    condition: Condition = Condition.STARTING_UP
    facts: DomainFacts = field(default_factory=lambda: DomainFacts(""))  # of the last look
    looking: bool = False
    news: deque[Callable[[], None]] = field(default_factory=deque)  # until the look has ended
    hung_up: set[str] = field(default_factory=set)  # ports whose connection ended
    check: asyncio.TimerHandle | None = None


class LibvirtDiscovery(Discovery):
    """Watches the domains of `uri`, which need not answer yet.

    `hotplug`: a domain that asks for a port and was booted without is given one.
    """

    def __init__(self, uri: str, *, hotplug: bool) -> None:
        self._uri = uri
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(uri, self._loop, self)
        self._hotplug = Hotplug(
            allowed=hotplug,
            attach=self._connection.attach_port,
            on_note=self._note,
        )
        self._domains: dict[str, _Domain] = {}
        self._lost = asyncio.Event()
        self._looks: set[asyncio.Task[None]] = set()
        self._complained = False
        self._sink: Sink

    async def run(self, sink: Sink) -> None:
        self._sink = sink
        backoff_s = BACKOFF_MIN_S
        try:
            while True:
                try:
                    await self._watch()
                    backoff_s = BACKOFF_MIN_S
                except LibvirtUnavailableError as error:
                    self._complain(str(error))
                self._connection.abandon()
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
        finally:
            self._connection.abandon()

    @property
    def answers(self) -> bool:
        return not self._complained

    async def _watch(self) -> None:
        """Until the connection is lost."""
        self._lost.clear()
        await self._connection.open()
        snapshots = {snapshot.uuid: snapshot for snapshot in await self._connection.snapshots()}
        for uuid in list(self._domains):
            if uuid not in snapshots:
                del self._domains[uuid]
                self._hotplug.forget(uuid)
        for snapshot in snapshots.values():
            self._apply(self._domain(snapshot.uuid), snapshot)
        self._sink.synced({uuid for uuid, domain in self._domains.items() if domain.known})
        if self._complained:
            _log.warning("libvirt at %s answers again", self._uri)
            self._complained = False
        await self._lost.wait()
        self._complain("the connection was lost")

    # --- what libvirt says -------------------------------------------------------------------

    def on_lifecycle(self, uuid: str, event: int, detail: int) -> None:
        domain = self._domain(uuid)
        if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
            self._in_order(domain, lambda: self._undefined(domain))
        elif event in (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_DEFINED):
            started = event == libvirt.VIR_DOMAIN_EVENT_STARTED
            from_scratch = started and detail == libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED
            self._in_order(domain, lambda: self._look(domain, from_scratch))
        else:
            condition = conditions.of_event(event, detail)
            if condition is not None:
                self._in_order(domain, lambda: self._become(domain, condition))
        if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
            self._loop.call_later(REASON_DELAY_S, self._ask_reason, domain)

    def on_reboot(self, uuid: str) -> None:
        domain = self._domain(uuid)
        self._in_order(domain, lambda: self._sink.rebooted(uuid))

    def on_changed(self, uuid: str) -> None:
        domain = self._domain(uuid)
        self._in_order(domain, lambda: self._look(domain, False))

    def on_monitor(self, uuid: str, event: str, wall_time: float, details: str) -> None:
        domain = self._domain(uuid)
        said = json.loads(details)
        if event == "VSERPORT_CHANGE":
            self._in_order(domain, lambda: self._port_changed(domain, said, wall_time))
        elif event == "POWERDOWN":
            self._in_order(domain, lambda: self._sink.asked_to_stop(uuid))
        elif event == "MIGRATION":
            self._in_order(domain, lambda: self._migrates(domain, str(said.get("status"))))

    def on_lost(self) -> None:
        self._lost.set()

    # --- what the agent's connections say ----------------------------------------------------

    def connected(self, uuid: str, port_name: str) -> None:
        domain = self._domains.get(uuid)
        if domain is not None:
            domain.hung_up.discard(port_name)

    def hung_up(self, uuid: str, port_name: str) -> None:
        domain = self._domains.get(uuid)
        if domain is not None:
            domain.hung_up.add(port_name)

    def refused(self, uuid: str, port_name: str, code: int) -> None:
        domain = self._domains.get(uuid)
        if domain is None or domain.check is not None or port_name not in domain.hung_up:
            return
        if not _may_be_lost(domain):
            return
        # Until libvirt says what happened, nobody is to be blamed for anything.
        self._sink.became(uuid, Condition.STARTING_UP)
        # A QEMU that ends in order removes its socket; one that was killed leaves it behind.
        killed = code == errno.ECONNREFUSED
        domain.check = self._loop.call_later(
            KILLED_SETTLE_S if killed else ENDED_SETTLE_S, self._check, domain, killed
        )

    def _check(self, domain: _Domain, killed: bool) -> None:
        domain.check = None
        if self._domains.get(domain.uuid) is not domain or not _may_be_lost(domain):
            return
        if domain.hung_up and killed:
            domain.condition = Condition.GONE
            self._sink.gone(domain.uuid, "QEMU's socket died, and libvirt did not say why")
        else:
            self._in_order(domain, lambda: self._look(domain, False))

    # --- one domain's news, in order ---------------------------------------------------------

    def _domain(self, uuid: str) -> _Domain:
        domain = self._domains.get(uuid)
        if domain is None:
            domain = self._domains[uuid] = _Domain(uuid)
        return domain

    def _in_order(self, domain: _Domain, news: Callable[[], None]) -> None:
        domain.news.append(news)
        while domain.news and not domain.looking:
            domain.news.popleft()()

    def _look(self, domain: _Domain, from_scratch: bool) -> None:
        domain.looking = True
        task = self._loop.create_task(self._look_at(domain, from_scratch))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def _look_at(self, domain: _Domain, from_scratch: bool) -> None:
        try:
            snapshot = await self._connection.snapshot(domain.uuid)
        except LibvirtUnavailableError as error:
            _log.warning("%s: can't be looked at: %s", domain.uuid, error)
            snapshot = None
        if from_scratch:
            self._sink.rebooted(domain.uuid)
            self._hotplug.forget(domain.uuid)
        if snapshot is not None:
            self._apply(domain, snapshot)
        elif domain.condition is Condition.SHUT_OFF:
            self._forget(domain, "the domain is no more")
        domain.looking = False
        while domain.news and not domain.looking:
            domain.news.popleft()()

    def _apply(self, domain: _Domain, snapshot: Snapshot) -> None:
        before, facts = domain.facts, snapshot.facts
        domain.facts = facts
        if facts.wrong_specs and facts.wrong_specs != before.wrong_specs:
            _log.warning(
                "%s (%s): %s: not a boolean; it asks for nothing",
                *(domain.uuid, facts.name, ", ".join(facts.wrong_specs)),
            )
        if not facts.services:
            if domain.known:
                self._forget(domain, "it has no port of ours any more, or its flavor asks for none")
            return
        domain.condition = snapshot.condition
        if snapshot.condition is Condition.GONE:
            if not domain.known:
                self._sink.found(domain.uuid, facts.name, Condition.STARTING_UP, facts.services)
            self._sink.gone(domain.uuid, "libvirt says that QEMU crashed")
        else:
            self._sink.found(domain.uuid, facts.name, snapshot.condition, facts.services)
        domain.known = True
        names = {port.name for port in facts.ports.values()}
        for port in before.ports.values():
            if port.name not in names:
                self._sink.port_lost(domain.uuid, port.name)
        for port in facts.ports.values():
            self._sink.port_found(domain.uuid, port)
        self._hotplug.look(domain.uuid, facts, domain.condition)

    def _become(self, domain: _Domain, condition: Condition) -> None:
        ended = condition in (Condition.SHUT_OFF, Condition.GONE)
        if not domain.known:
            if ended:
                self._domains.pop(domain.uuid, None)
            return
        domain.condition = condition
        if condition is Condition.GONE:
            self._sink.gone(domain.uuid, "libvirt says that QEMU crashed")
        else:
            self._sink.became(domain.uuid, condition)
        self._hotplug.look(domain.uuid, domain.facts, condition)
        if ended:
            self._look(domain, False)  # a transient domain is no more

    def _undefined(self, domain: _Domain) -> None:
        """A domain that runs on is only not kept for a later boot."""
        if domain.condition in (Condition.SHUT_OFF, Condition.GONE, Condition.SAVING):
            self._forget(domain, "the domain was undefined")

    def _forget(self, domain: _Domain, detail: str) -> None:
        self._domains.pop(domain.uuid, None)
        self._hotplug.forget(domain.uuid)
        self._sink.left(domain.uuid, detail)

    def _note(self, uuid: str, note: str) -> None:
        self._sink.noted(uuid, note)

    def _port_changed(self, domain: _Domain, said: dict[str, object], wall_time: float) -> None:
        port = domain.facts.ports.get(str(said.get("id")))
        if port is None:
            return
        if said.get("open"):
            self._sink.port_opened(domain.uuid, port.name)
        else:
            age_s = min(max(0.0, time.time() - wall_time), OLDEST_NEWS_S)
            self._sink.port_closed(domain.uuid, port.name, age_s)

    def _migrates(self, domain: _Domain, status: str) -> None:
        if status in _MIGRATION:
            self._become(domain, _MIGRATION[status])
        elif status in _MIGRATION_ENDS:
            self._loop.call_later(REASON_DELAY_S, self._ask_reason, domain)

    def _ask_reason(self, domain: _Domain) -> None:
        """What the domain's state says, unless there is other news before it answers."""
        task = self._loop.create_task(self._refine(domain, domain.condition))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def _refine(self, domain: _Domain, before: Condition) -> None:
        try:
            condition = await self._connection.condition(domain.uuid)
        except LibvirtUnavailableError:
            return
        ended = (Condition.SHUT_OFF, Condition.GONE)
        if condition is None or condition in ended or domain.condition is not before:
            return
        self._in_order(domain, lambda: self._become(domain, condition))

    def _complain(self, reason: str) -> None:
        if not self._complained:
            self._complained = True
            _log.error(
                "[libvirt] connection_uri = %s: %s; trying on; guests whose ports are open are"
                " heartbeated meanwhile",
                *(self._uri, reason),
            )


def _may_be_lost(domain: _Domain) -> bool:
    return domain.condition not in EXCUSED and domain.condition is not Condition.GONE
