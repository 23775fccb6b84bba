"""What the controller tells people and sinks: the objects of the REST API.

Times are ISO 8601 in UTC with microseconds. Stage times are milliseconds relative to the moment
of detection (`raised_at`, or `cleared_at` once the fault is cleared), negative before it.
"""

from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct


class Delivery(Struct, kw_only=True, omit_defaults=True):
    """How one sink fares with a fault's latest change. `state`: pending, done, failed or
    suppressed.

    `last_error` and `next_attempt_at` are there where the last attempt failed.
    """

    sink: str
    state: str
    attempts: int
    last_error: str | None = None
    next_attempt_at: str | None = None


class Fault(Struct, kw_only=True):
    """A fault as of one change of it. `status`: raised or cleared.

    `correlated_to` is the id of the `host_lost` which is the cause of this fault; None: it stands
    for itself. `instances` are those that a lost host carried. `maintenance` is the id of the
    window because of which no sink is told of it.
    """

    id: str
    kind: str
    severity: str
    status: str
    instance_uuid: str
    instance_name: str
    host: str
    raised_at: str
    cleared_at: str | None
    detail: str
    corrective_action: str
    stages_ms: dict[str, float]
    deliveries: list[Delivery]
    correlated_to: str | None = None
    instances: list[str] = []
    maintenance: str | None = None

    @property
    def changed_at(self) -> str:
        """The moment of detection of the change that this is."""
        return self.cleared_at or self.raised_at


class Instance(Struct, kw_only=True):
    """`state` is a Condition; `health` is None before the guest's first answer.

    `note` is what its host agent wants an operator to know of it, for example why it has no port.
    `health_detail` is what the guest said with its health. `round_trip_ms` is the slowest answer
    since its agent told of it before; None: none came.
    """

    uuid: str
    name: str
    host: str
    state: str
    interval_ms: int | None
    last_seen_at: str | None
    registered: bool
    health: str | None
    note: str = ""
    health_detail: str = ""
    round_trip_ms: float | None = None


class Host(Struct, kw_only=True):
    """A compute node's agent. `state`: online or offline.

    `waiting` is how many fault changes no controller has acknowledged yet; with `outbox_durable`
    False they are in the agent's memory only. `clock_ms` is how far its wall clock was ahead of the
    controller's at its last report, less the report's way; None: not since the controller's start.
    """

    host: str
    state: str
    agent_version: str
    guests: int
    lateness_ms: float
    waiting: int = 0
    outbox_durable: bool = True
    clock_ms: float | None = None


class GroupMember(Struct, kw_only=True, omit_defaults=True):
    """`host` is None where nobody has the instance; `state` is Nova's word.

    `name` is what its peers call it; `display_name` is there where its owner calls it otherwise.
    """

    uuid: str
    name: str
    host: str | None
    state: str
    display_name: str | None = None


class ServerGroup(Struct, kw_only=True):
    id: str
    name: str
    members: list[GroupMember]


class _Located(Protocol):
    @property
    def instance_uuid(self) -> str: ...
    @property
    def host(self) -> str: ...


def lane_of(located: _Located) -> str:
    """Changes of one lane are told in their order: an instance's, or a host's own."""
    return located.instance_uuid or located.host


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def utc(moment: str) -> datetime | None:
    """`moment`, an agent's ISO 8601 time, in UTC; None if it is no time."""
    try:
        then = datetime.fromisoformat(moment)
        return then.replace(tzinfo=UTC) if then.tzinfo is None else then.astimezone(UTC)
    except (ValueError, OverflowError):  # no time; or none that there is in UTC, in the year 1
        return None


def ms_since(moment: str, now: datetime) -> float | None:
    """Milliseconds from `moment`, an agent's ISO 8601 time, to `now`; None if it is no time."""
    then = utc(moment)
    return None if then is None else round((now - then).total_seconds() * 1000, 3)
