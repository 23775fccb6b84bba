"""GET /v1/instances, /v1/instances/{uuid} and /v1/hosts; DELETE /v1/hosts/{host}."""

from typing import Any

from litestar import delete, get
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, FromQuery
from msgspec import Struct, structs

from reachthru.bus import BusUnavailableError
from reachthru.controller_server.cluster.forgetting import HostAliveError, UnknownHostError
from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.overview.model import JudgedHost, JudgedInstance
from reachthru.controller_server.overview.overview import Judged, Overview
from reachthru.controller_server.overview.verdicts import RANK, Verdict
from reachthru.controller_server.rest.lists import Asked
from reachthru.controller_server.round_trips import RoundTrip
from reachthru.controller_server.state import ControllerState

_INSTANCE_SORTS: dict[str, Any] = {
    "worst": lambda judged: (RANK[judged.verdict], judged.subject.name, judged.subject.uuid),
    "name": lambda judged: (judged.subject.name, judged.subject.uuid),
    "host": lambda judged: (judged.subject.host, judged.subject.name),
    "last_seen": lambda judged: judged.subject.last_seen_at or "",
}
_HOST_SORTS: dict[str, Any] = {
    "worst": lambda judged: (
        RANK[judged.verdict],
        -sum(judged.guests.get(verdict, 0) for verdict in (Verdict.FAILING, Verdict.UNWELL)),
        judged.subject.host,
    ),
    "name": lambda judged: judged.subject.host,
    "guests": lambda judged: (judged.subject.guests, judged.subject.host),
    "lateness": lambda judged: (judged.subject.lateness_ms, judged.subject.host),
}


class Instances(Struct):
    """`total`: how many there are before `offset` and `limit`."""

    instances: list[JudgedInstance]
    total: int


class OneInstance(Struct):
    """`groups` are the ids of its server groups; `round_trips` what this controller heard of it."""

    instances: list[JudgedInstance]
    groups: list[str]
    round_trips: list[RoundTrip]


class Hosts(Struct):
    hosts: list[JudgedHost]
    total: int


@get("/v1/instances")
async def get_instances(
    controller: NamedDependency[ControllerState],
    overview: NamedDependency[Overview],
    asked: NamedDependency[Asked],
    host: FromQuery[str | None] = None,
) -> Instances:
    """By uuid, or by `sort`: worst, name, host, last_seen; -name from the last to the first."""
    page = asked.page(
        (one for one in await overview.instances() if host in (None, one.subject.host)),
        texts=lambda judged: (judged.subject.name, judged.subject.uuid, judged.subject.host),
        keys=_INSTANCE_SORTS,
    )
    return Instances([_shown(controller, judged) for judged in page.items], page.total)


@get("/v1/instances/{uuid:str}")
async def get_instance(
    controller: NamedDependency[ControllerState],
    overview: NamedDependency[Overview],
    uuid: FromPath[str],
) -> OneInstance:
    found = overview.instance(uuid)
    if found is None:
        raise NotFoundException(f"no host has an instance {uuid}")
    group = controller.groups.group_of(uuid)
    return OneInstance(
        instances=[_shown(controller, found)],
        groups=[group.id] if group is not None else [],
        round_trips=controller.inventory.round_trips(uuid),
    )


@get("/v1/hosts")
async def get_hosts(
    overview: NamedDependency[Overview],
    asked: NamedDependency[Asked],
    host: FromQuery[str | None] = None,
) -> Hosts:
    """By name, or by `sort`: worst, name, guests, lateness. `host`: this one only."""
    page = asked.page(
        (one for one in await overview.hosts() if host in (None, one.subject.host)),
        texts=lambda judged: (judged.subject.host,),
        keys=_HOST_SORTS,
    )
    return Hosts([_shown_host(judged) for judged in page.items], page.total)


@delete("/v1/hosts/{host:str}", status_code=200)
async def forget_host(
    controller: NamedDependency[ControllerState], host: FromPath[str]
) -> dict[str, str | int]:
    """It never returns: its loss and its faults are cleared. 409: its agent reports."""
    try:
        cleared = await controller.forgetting.forget(host)
    except UnknownHostError as error:
        raise NotFoundException(str(error)) from error
    except HostAliveError as error:
        raise HTTPException(str(error), status_code=409) from error
    except BusUnavailableError as error:
        raise HTTPException(str(error), status_code=503) from error
    return {"forgotten": host, "cleared": cleared}


def _shown(controller: ControllerState, judged: Judged[Instance]) -> JudgedInstance:
    """A report that no answer came before says nothing of how quick the last one was."""
    fields = structs.asdict(judged.subject)
    fields["round_trip_ms"] = controller.inventory.last_round_trip_ms(judged.subject.uuid)
    faults = [kind.value for kind in judged.faults]
    return JudgedInstance(**fields, verdict=judged.verdict.value, faults=faults)


def _shown_host(judged: Judged[Host]) -> JudgedHost:
    verdicts = {verdict.value: count for verdict, count in judged.guests.items()}
    return JudgedHost(
        **structs.asdict(judged.subject), verdict=judged.verdict.value, verdicts=verdicts
    )
