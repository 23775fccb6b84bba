"""What the controller knows of server groups, wherever it knows it from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

ERROR = "error"  # Nova's word for a member's state


class Member(Struct, frozen=True, kw_only=True):
    """One instance of a group.

    `status` has the keys of Nova's legacy instance notification (wire contract, section 5), as
    far as they are known; `host` and `node` in it are the real ones: whoever tells guests hides
    them. `name` is what guests call it (`source_instance`): opaque and unique.
    """

    uuid: str
    name: str
    host: str | None  # the compute node that carries it now, None where nobody knows
    state: str  # Nova's: active, building, paused, stopped, deleted, error, ...
    project_id: str
    status: dict[str, Any]


class Group(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    members: Sequence[Member]


class Outline(Struct, frozen=True, kw_only=True):
    """A group without what is known of its members. `in_error`: those of whom the source says so,
    where nobody else may know them.
    """

    id: str
    name: str
    uuids: Sequence[str]
    in_error: frozenset[str] = frozenset()


def outline(group: Group) -> Outline:
    return Outline(
        id=group.id,
        name=group.name,
        uuids=[member.uuid for member in group.members],
        in_error=frozenset(member.uuid for member in group.members if member.state == ERROR),
    )


class MemberChange(Struct, frozen=True, kw_only=True):
    """A member's state changed. `member` is as it is now (or was, if it is gone)."""

    group_id: str
    member: Member
    event_type: str  # Nova's legacy word, e.g. compute.instance.power_off.end
    priority: str  # INFO | ERROR | ...
    timestamp: str  # when Nova or an agent said so, ISO 8601 UTC: the same on every controller


class GroupDirectory(ABC):
    """A source of groups. Look-ups answer from memory at once; they never wait and never raise.

    `on_change` is called on the event loop with every `MemberChange`, in order per member, each
    once.
    """

    on_change: Callable[[MemberChange], None] = staticmethod(lambda _change: None)

    @abstractmethod
    async def run(self) -> None:
        """Keeps itself fresh until it is cancelled. What it depends on may come and go."""

    @abstractmethod
    async def ready(self) -> None:
        """Returns once `run` has looked at its source for the first time, whatever it found."""

    @property
    @abstractmethod
    def stale(self) -> bool:
        """Whether the source is out of reach, so that answers may be old."""

    @abstractmethod
    def groups(self) -> Sequence[Group]: ...

    def outlines(self) -> Sequence[Outline]:
        """All groups; a source that can tell so much more quickly than all does."""
        return [outline(group) for group in self.groups()]

    @abstractmethod
    def group(self, group_id: str) -> Group | None: ...

    @abstractmethod
    def group_of(self, instance_uuid: str) -> Group | None:
        """The group that the instance is a member of."""
