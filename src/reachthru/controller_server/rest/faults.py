"""GET /v1/faults and /v1/faults/{id}."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import FromPath, FromQuery, QueryParameter

from reachthru.controller_server.model import Fault
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.queries import FaultFilter, UnknownMarkerError
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity

LIMIT_DEFAULT = 100
LIMIT_MAX = 10_000


@get("/v1/faults")
async def get_faults(
    *,
    controller: NamedDependency[ControllerState],
    active: FromQuery[bool | None] = None,
    instance: FromQuery[str | None] = None,
    host: FromQuery[str | None] = None,
    kind: FromQuery[FaultKind | None] = None,
    severity: FromQuery[Severity | None] = None,
    worst_first: FromQuery[bool] = False,
    marker: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
) -> dict[str, list[Fault]]:
    """The newest first. `active`: raised ones only (true), cleared ones only (false).

    `marker`, the id of an answer's last fault, asks for those after it. `worst_first`: the causes
    before what is correlated to them, critical ones before others; it goes with no marker.
    """
    if worst_first and marker:
        raise ClientException("marker: does not go with worst_first, which has no next page")
    wanted = FaultFilter(
        active=active,
        instance=instance or None,
        host=host or None,
        kind=kind,
        severity=severity,
        worst_first=worst_first,
        marker=marker or None,
        limit=limit,
    )
    try:
        return {"faults": await controller.ledger.faults(wanted)}
    except UnknownMarkerError as error:
        raise ClientException(f"marker = {marker}: there is no such fault") from error


@get("/v1/faults/{fault_id:str}")
async def get_fault(
    controller: NamedDependency[ControllerState], fault_id: FromPath[str]
) -> dict[str, list[Fault]]:
    """The fault as of each of its changes: when it was raised, and when it was cleared."""
    changes = await controller.ledger.as_of([(fault_id, status) for status in FaultStatus])
    if not changes:
        raise NotFoundException(f"no fault {fault_id}")
    return {"changes": changes}
