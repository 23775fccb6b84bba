"""GET /v1/groups and /v1/groups/{id}."""

from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from reachthru.controller_server.groups.base import Group, Member
from reachthru.controller_server.model import GroupMember, ServerGroup
from reachthru.controller_server.state import ControllerState


@get("/v1/groups")
async def get_groups(controller: NamedDependency[ControllerState]) -> dict[str, list[ServerGroup]]:
    return {"groups": [_shown(group) for group in controller.groups.groups()]}


@get("/v1/groups/{group_id:str}")
async def get_group(
    controller: NamedDependency[ControllerState], group_id: FromPath[str]
) -> dict[str, list[ServerGroup]]:
    found = controller.groups.group(group_id)
    if found is None:
        raise NotFoundException(f"no server group {group_id}")
    return {"groups": [_shown(found)]}


def _shown(group: Group) -> ServerGroup:
    return ServerGroup(id=group.id, name=group.name, members=list(map(_member, group.members)))


def _member(member: Member) -> GroupMember:
    display_name = member.status.get("display_name")
    return GroupMember(
        uuid=member.uuid,
        name=member.name,
        host=member.host,
        state=member.state,
        display_name=display_name if display_name != member.name else None,
    )
