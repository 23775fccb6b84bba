"""How a guest, a host or a group is, in one word. Pure."""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from reachthru.controller_server.groups.base import Outline
from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.store.tables import ONLINE
from reachthru.protocol.faults import CATALOGUE, EXCUSED, FaultKind, Severity


class Verdict(StrEnum):
    """The worst first."""

    FAILING = "failing"  # a critical fault is active; of a host: it is lost
    UNWELL = "unwell"  # another fault is active, or the guest says that it is not well
    UNKNOWN = "unknown"  # the host's agent is away: nobody looks
    UNWATCHED = "unwatched"  # it runs, and no guest daemon has registered
    EXCUSED = "excused"  # paused, moving, starting, stopped: silence is nobody's fault
    WELL = "well"


RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}


def of_instance(instance: Instance, faults: Collection[FaultKind], *, watched: bool) -> Verdict:
    """`watched`: its host's agent is there."""
    if faults and any(CATALOGUE[kind].severity is Severity.CRITICAL for kind in faults):
        return Verdict.FAILING
    if faults or (instance.health or "healthy") != "healthy":
        return Verdict.UNWELL
    if not watched:
        return Verdict.UNKNOWN
    if instance.state in EXCUSED:
        return Verdict.EXCUSED
    return Verdict.WELL if instance.registered else Verdict.UNWATCHED


def of_host(host: Host, guests: Iterable[Verdict], *, lost: bool) -> Verdict:
    """A host whose guests fail is unwell itself: somebody should look there."""
    if lost:
        return Verdict.FAILING
    if host.state != ONLINE:
        return Verdict.UNKNOWN
    ill = {Verdict.FAILING, Verdict.UNWELL}.intersection(guests)
    return Verdict.UNWELL if ill or not host.outbox_durable else Verdict.WELL


def of_group(group: Outline, known: Mapping[str, Verdict]) -> Verdict:
    """Its worst member's. One that no agent reports is as its source says: in error, or excused."""
    found = {
        known.get(uuid) or (Verdict.FAILING if uuid in group.in_error else Verdict.EXCUSED)
        for uuid in group.uuids
    }
    return min(found, key=RANK.__getitem__, default=Verdict.WELL)
