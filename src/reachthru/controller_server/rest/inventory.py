"""GET /v1/instances, /v1/instances/{uuid} and /v1/hosts; DELETE /v1/hosts/{host}."""

from litestar import delete, get
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath

from reachthru.bus import BusUnavailableError
from reachthru.controller_server.cluster.forgetting import HostAliveError, UnknownHostError
from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.state import ControllerState


@get("/v1/instances")
async def get_instances(controller: NamedDependency[ControllerState]) -> dict[str, list[Instance]]:
    return {"instances": controller.inventory.instances()}


@get("/v1/instances/{uuid:str}")
async def get_instance(
    controller: NamedDependency[ControllerState], uuid: FromPath[str]
) -> dict[str, list[Instance]]:
    found = controller.inventory.instance(uuid)
    if found is None:
        raise NotFoundException(f"no host has an instance {uuid}")
    return {"instances": [found]}


@get("/v1/hosts")
async def get_hosts(controller: NamedDependency[ControllerState]) -> dict[str, list[Host]]:
    return {"hosts": controller.inventory.hosts()}


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
