"""What the overview says, beyond what agents report: the objects of REST."""

from collections.abc import Mapping

from msgspec import Struct

from reachthru.controller_server.groups.base import Group, Member
from reachthru.controller_server.model import GroupMember, Host, Instance, ServerGroup
from reachthru.controller_server.overview.verdicts import Verdict


class JudgedInstance(Instance, kw_only=True):
    """`faults` are the kinds of its active ones."""

    verdict: str
    faults: list[str]


class JudgedHost(Host, kw_only=True):
    """`verdicts` counts its guests by theirs."""

    verdict: str
    verdicts: dict[str, int]


class JudgedMember(GroupMember, kw_only=True, omit_defaults=True):
    """`verdict` is missing where no agent knows the member."""

    verdict: str | None = None


class JudgedGroup(ServerGroup, kw_only=True):
    verdict: str
    members: list[JudgedMember]  # type: ignore[assignment]  # each says more


class Summary(Struct, kw_only=True):
    """How many there are: of each by verdict, of active faults by severity.

    `role` is this controller's: leader or follower. `groups_stale`: their source (Nova, or a file)
    is out of reach, so they may be old.
    """

    version: str
    role: str
    instances: dict[str, int]
    hosts: dict[str, int]
    groups: dict[str, int]
    faults: dict[str, int]
    groups_stale: bool


def shown_group(group: Group, verdict: Verdict, known: Mapping[str, Verdict]) -> JudgedGroup:
    """`known`: members' verdicts, by uuid."""
    members = [_shown_member(member, known.get(member.uuid)) for member in group.members]
    return JudgedGroup(id=group.id, name=group.name, verdict=verdict.value, members=members)


def _shown_member(member: Member, verdict: Verdict | None) -> JudgedMember:
    display_name = member.status.get("display_name")
    return JudgedMember(
        uuid=member.uuid,
        name=member.name,
        host=member.host,
        state=member.state,
        display_name=display_name if display_name != member.name else None,
        verdict=None if verdict is None else verdict.value,
    )
