"""What a controller answers, as far as a command shows it.

Unknown fields are passed over, and those that a controller of 0.1.0 does not send have a default:
any version 1 is understood.
"""

from msgspec import Struct


class Instance(Struct):
    uuid: str
    name: str
    host: str
    state: str
    interval_ms: int | None
    last_seen_at: str | None
    registered: bool
    health: str | None


class Instances(Struct):
    instances: list[Instance]


class Delivery(Struct):
    sink: str
    state: str
    attempts: int


class Fault(Struct):
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
    deliveries: list[Delivery]
    correlated_to: str | None = None


class Faults(Struct):
    faults: list[Fault]


class Member(Struct):
    uuid: str
    name: str
    host: str | None
    state: str
    display_name: str | None = None


class Group(Struct):
    id: str
    name: str
    members: list[Member]


class Groups(Struct):
    groups: list[Group]


class Refusal(Struct):
    """The body of every answer that is not 200."""

    error: str
