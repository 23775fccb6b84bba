"""What libvirt says of a domain, as a condition: who may be blamed for a guest's silence.

`GONE` stands for an end that nobody asked for.
"""

import libvirt

from reachthru.protocol.faults import Condition

# (state, reason) of virDomainGetState
_STATES: dict[tuple[int, int], Condition] = {
    (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY): Condition.POST_COPY,
    (
        libvirt.VIR_DOMAIN_RUNNING,
        libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED,
    ): Condition.POST_COPY_FAILED,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER): Condition.PAUSED_BY_USER,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION): Condition.MIGRATING,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SAVE): Condition.SAVING,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_DUMP): Condition.DUMPING,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): Condition.IO_ERROR,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT): Condition.SNAPSHOT,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT): Condition.SNAPSHOT,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN): Condition.SHUTTING_DOWN,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): Condition.CRASHED,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP): Condition.STARTING_UP,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY): Condition.POST_COPY,
    (
        libvirt.VIR_DOMAIN_PAUSED,
        libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
    ): Condition.POST_COPY_FAILED,
    # Saved: it waits on disk, with its guest's session in it.
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SAVED): Condition.SAVING,
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): Condition.GONE,
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): Condition.GONE,
}
# Every other reason of a state, those of later versions of libvirt as well
_ANY_REASON: dict[int, Condition] = {
    libvirt.VIR_DOMAIN_RUNNING: Condition.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Condition.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: Condition.SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: Condition.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: Condition.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Condition.PAUSED_BY_USER,  # its own user suspended it
}

# (event, detail) of a lifecycle event
_EVENTS: dict[tuple[int, int], Condition] = {
    (event, detail): condition
    for event, details in {
        libvirt.VIR_DOMAIN_EVENT_SUSPENDED: {
            # The reason is known a moment later, from the domain's state; it is an excuse anyway.
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED: Condition.PAUSED_BY_USER,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED: Condition.MIGRATING,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR: Condition.IO_ERROR,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_RESTORED: Condition.PAUSED_BY_USER,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT: Condition.SNAPSHOT,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY: Condition.POST_COPY,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED: Condition.POST_COPY_FAILED,
        },
        libvirt.VIR_DOMAIN_EVENT_RESUMED: {
            libvirt.VIR_DOMAIN_EVENT_RESUMED_POSTCOPY: Condition.POST_COPY,
            libvirt.VIR_DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED: Condition.POST_COPY_FAILED,
        },
        libvirt.VIR_DOMAIN_EVENT_STOPPED: {
            libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: Condition.SAVING,
            libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: Condition.GONE,
            libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: Condition.GONE,
        },
    }.items()
    for detail, condition in details.items()
}
_ANY_DETAIL: dict[int, Condition] = {
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: Condition.PAUSED_UNKNOWN,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: Condition.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: Condition.SHUT_OFF,
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: Condition.SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: Condition.PAUSED_BY_USER,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: Condition.CRASHED,
}

# What a job of libvirt's own has stopped the domain for, where its state gives no reason
_JOBS: dict[int, Condition] = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: Condition.SAVING,
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: Condition.MIGRATING,
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: Condition.SNAPSHOT,
    libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: Condition.DUMPING,
}


def of_state(state: int, reason: int) -> Condition:
    """What nobody knows is no excuse."""
    known = _STATES.get((state, reason))
    return known or _ANY_REASON.get(state, Condition.PAUSED_UNKNOWN)


def of_job(statistics: dict[str, int]) -> Condition | None:
    """virDomainGetJobStats; None: no job, or none that stops a domain."""
    return _JOBS.get(statistics.get("operation", libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN))


def of_event(event: int, detail: int) -> Condition | None:
    """None: the event says nothing about whether the domain runs (it was defined, started ...)."""
    return _EVENTS.get((event, detail)) or _ANY_DETAIL.get(event)
