"""The fault catalogue: what can be wrong, how bad it is, what ends it and what hides it.

A fault belongs to one instance (or, `host_lost`, to a compute node) and is either raised or
cleared. Both changes carry the same id, so that every hop can be repeated without harm.
"""

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    HEARTBEAT_LOST = "heartbeat_lost"
    UNHEALTHY = "unhealthy"
    GUEST_DAEMON_LOST = "guest_daemon_lost"
    INSTANCE_LOST = "instance_lost"
    NEVER_REGISTERED = "never_registered"
    HOST_LOST = "host_lost"


class Severity(StrEnum):
    """ITU-T X.733 perceived severities, as Vitrage and Doctor know them."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"


class FaultStatus(StrEnum):
    RAISED = "raised"
    CLEARED = "cleared"


class Condition(StrEnum):
    """What the hypervisor says of a domain, as far as it matters to who may be blamed."""

    RUNNING = "running"
    STARTING_UP = "starting_up"
    PAUSED_BY_USER = "paused_by_user"
    MIGRATING = "migrating"
    POST_COPY = "post_copy"
    SAVING = "saving"
    SNAPSHOT = "snapshot"
    DUMPING = "dumping"
    SHUTTING_DOWN = "shutting_down"
    SHUT_OFF = "shut_off"  # somebody asked for it
    IO_ERROR = "io_error"
    CRASHED = "crashed"
    POST_COPY_FAILED = "post_copy_failed"
    PAUSED_UNKNOWN = "paused_unknown"
    GONE = "gone"  # QEMU went, and nobody asked


# While the hypervisor says one of these, silence of the guest is nobody's fault.
EXCUSED = frozenset(
    {
        Condition.STARTING_UP,
        Condition.PAUSED_BY_USER,
        Condition.MIGRATING,
        Condition.POST_COPY,
        Condition.SAVING,
        Condition.SNAPSHOT,
        Condition.DUMPING,
        Condition.SHUTTING_DOWN,
        Condition.SHUT_OFF,
    }
)


@dataclass(frozen=True, slots=True)
class FaultType:
    """One entry of the catalogue, with texts for people."""

    kind: FaultKind
    severity: Severity
    title: str
    cleared_by: str
    hidden_by: frozenset[Condition] = EXCUSED


CATALOGUE: dict[FaultKind, FaultType] = {
    entry.kind: entry
    for entry in (
        FaultType(
            FaultKind.HEARTBEAT_LOST,
            Severity.CRITICAL,
            "The guest no longer answers its heartbeat",
            "an answer in time",
        ),
        FaultType(
            FaultKind.UNHEALTHY,
            Severity.MAJOR,
            "The guest says that it is unhealthy",
            "an answer that says healthy",
        ),
        FaultType(
            FaultKind.GUEST_DAEMON_LOST,
            Severity.MAJOR,
            "The guest daemon closed its port without saying goodbye",
            "an answer in time, of a new session",
        ),
        FaultType(
            FaultKind.INSTANCE_LOST,
            Severity.CRITICAL,
            "The instance's QEMU process is gone and nobody asked for it",
            "an answer in time, or the instance's removal",
        ),
        FaultType(
            FaultKind.NEVER_REGISTERED,
            Severity.WARNING,
            "The guest has not registered within the configured limit",
            "a session, or the instance's removal",
        ),
        FaultType(
            FaultKind.HOST_LOST,
            Severity.CRITICAL,
            "The compute node's agent is silent",
            "the agent's return",
            hidden_by=frozenset(),
        ),
    )
}
