"""GET /v1/faults."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import ClientException
from litestar.params import FromQuery, QueryParameter

from reachthru.controller_server.model import Fault
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.queries import FaultFilter, UnknownMarkerError

LIMIT_DEFAULT = 100
LIMIT_MAX = 10_000


@get("/v1/faults")
async def get_faults(
    *,
    controller: NamedDependency[ControllerState],
    active: FromQuery[bool | None] = None,
    instance: FromQuery[str | None] = None,
    host: FromQuery[str | None] = None,
    marker: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
) -> dict[str, list[Fault]]:
    """The newest first. `active`: raised ones only (true), cleared ones only (false).

    `marker`, the id of an answer's last fault, asks for those after it.
    """
    wanted = FaultFilter(
        active=active,
        instance=instance or None,
        host=host or None,
        marker=marker or None,
        limit=limit,
    )
    try:
        return {"faults": await controller.ledger.faults(wanted)}
    except UnknownMarkerError as error:
        raise ClientException(f"marker = {marker}: there is no such fault") from error
