"""GET and POST /v1/maintenance, DELETE /v1/maintenance/{id}."""

from typing import Annotated, Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.exceptions import ClientException, HTTPException, NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Meta, Struct

from reachthru.controller_server.maintenance import TooManyError
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.windows import LONGEST_S, Scope, Shown

Name = Annotated[str, Meta(min_length=1, max_length=255)]


class NewWindow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Exactly one of `instance` (a uuid), `host` and `group` (an id)."""

    for_s: Annotated[float, Meta(ge=1.0, le=LONGEST_S)]
    instance: Name | None = None
    host: Name | None = None
    group: Name | None = None
    reason: Annotated[str, Meta(max_length=1000)] = ""


@get("/v1/maintenance")
async def get_maintenance(
    controller: NamedDependency[ControllerState], ended: FromQuery[bool] = False
) -> dict[str, list[Shown]]:
    """Those that are active; `ended`: those that are over, too."""
    return {"maintenance": await controller.maintenance.windows(ended=ended)}


@post("/v1/maintenance")
async def start_maintenance(
    controller: NamedDependency[ControllerState],
    data: JSONBody[NewWindow],
    request: Request[Any, Any, Any],
) -> Shown:
    """From now on, for `for_s` seconds."""
    scope, subject = _subject(data)
    if not _is_known(controller, scope, subject):
        raise NotFoundException(f"there is no {scope} {subject}")
    try:
        return await controller.maintenance.start(
            scope, subject, for_s=data.for_s, reason=data.reason, by=_caller(request)
        )
    except TooManyError as error:
        raise HTTPException(str(error), status_code=409) from error


@delete("/v1/maintenance/{window_id:str}", status_code=200)
async def end_maintenance(
    controller: NamedDependency[ControllerState],
    window_id: FromPath[str],
    request: Request[Any, Any, Any],
) -> Shown:
    """What was held back and is still so is told now. One that is over stays as it was."""
    ended = await controller.maintenance.end(window_id, _caller(request))
    if ended is None:
        raise NotFoundException(f"there is no window {window_id}")
    return ended


def _subject(data: NewWindow) -> tuple[Scope, str]:
    given = [(scope, getattr(data, scope)) for scope in Scope if getattr(data, scope) is not None]
    if len(given) != 1:
        raise ClientException("exactly one of instance, host and group is needed")
    return given[0]


def _is_known(controller: ControllerState, scope: Scope, subject: str) -> bool:
    if scope is Scope.HOST:
        return any(host.host == subject for host in controller.inventory.hosts())
    if scope is Scope.INSTANCE:
        return controller.inventory.instance(subject) is not None
    return controller.groups.group(subject) is not None


def _caller(request: Request[Any, Any, Any]) -> str:
    """Whose token it was; "" where nobody is asked for one."""
    visitor = request.scope.get("user")
    return visitor.name if visitor is not None else ""
