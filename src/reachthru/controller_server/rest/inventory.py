"""GET /v1/instances, /v1/instances/{uuid} and /v1/hosts."""

from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

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
