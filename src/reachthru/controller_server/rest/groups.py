"""GET /v1/groups and /v1/groups/{id}."""

from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from msgspec import Struct

from reachthru.controller_server.groups.base import Group, outline
from reachthru.controller_server.overview import verdicts
from reachthru.controller_server.overview.model import JudgedGroup, shown_group
from reachthru.controller_server.overview.overview import Overview
from reachthru.controller_server.overview.verdicts import RANK
from reachthru.controller_server.rest.lists import Asked
from reachthru.controller_server.state import ControllerState

_SORTS: dict[str, Any] = {
    "worst": lambda judged: (RANK[judged.verdict], judged.subject.name, judged.subject.id),
    "name": lambda judged: (judged.subject.name, judged.subject.id),
    "members": lambda judged: (len(judged.subject.uuids), judged.subject.name),
}


class Groups(Struct):
    """`total`: how many there are before `offset` and `limit`."""

    groups: list[JudgedGroup]
    total: int


@get("/v1/groups")
async def get_groups(
    controller: NamedDependency[ControllerState],
    overview: NamedDependency[Overview],
    asked: NamedDependency[Asked],
) -> Groups:
    """As their source has them, or by `sort`: worst, name, members."""
    page = asked.page(
        await overview.groups(),
        texts=lambda judged: (judged.subject.name, judged.subject.id),
        keys=_SORTS,
    )
    groups = (controller.groups.group(judged.subject.id) for judged in page.items)
    return Groups([_shown(group, overview) for group in groups if group is not None], page.total)


@get("/v1/groups/{group_id:str}")
async def get_group(
    controller: NamedDependency[ControllerState],
    overview: NamedDependency[Overview],
    group_id: FromPath[str],
) -> Groups:
    found = controller.groups.group(group_id)
    if found is None:
        raise NotFoundException(f"no server group {group_id}")
    return Groups([_shown(found, overview)], 1)


def _shown(group: Group, overview: Overview) -> JudgedGroup:
    known = overview.judge_members(group)
    return shown_group(group, verdicts.of_group(outline(group), known), known)
