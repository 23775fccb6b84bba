"""A controller's REST API, version 1, through OpenStackClient's session."""

from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1.adapter import Adapter
from keystoneauth1.session import Session
from osc_lib.exceptions import CommandError

from reachthru.openstack_plugins.osc.plugin import SERVICE_TYPE
from reachthru.openstack_plugins.osc.records import (
    Fault,
    Faults,
    Group,
    Groups,
    Instance,
    Instances,
    Refusal,
)

TIMEOUT_S = 30.0

_Answer = TypeVar("_Answer", Instances, Faults, Groups)


class GuestHealthError(CommandError):
    """The controller can't be asked, or said no: one line for people."""

    def __init__(self, text: object) -> None:
        super().__init__(f"guest health: {' '.join(str(text).split())}")


class NotFoundError(GuestHealthError):
    """It has no such thing."""


class GuestHealthApi:
    """`endpoint`: as in the service catalogue, with or without /v1.

    Every method raises `GuestHealthError`.
    """

    def __init__(self, session: Session, endpoint: str) -> None:
        self._url = endpoint.rstrip("/").removesuffix("/v1")
        self._adapter = Adapter(session, endpoint_override=self._url)

    def instances(self) -> list[Instance]:
        return self._get(Instances, "/v1/instances").instances

    def instance(self, server_id: str) -> Instance:
        return self._get(Instances, f"/v1/instances/{quote(server_id, safe='')}").instances[0]

    def faults(
        self,
        *,
        limit: int,
        active: bool | None = None,
        server_id: str | None = None,
        host: str | None = None,
        marker: str | None = None,
    ) -> list[Fault]:
        """The newest first. None: whatever it is. What follows the fault `marker`."""
        wanted = {
            "active": None if active is None else str(active).lower(),
            "instance": server_id,
            "host": host,
            "limit": str(limit),
            "marker": marker,
        }
        return self._get(Faults, "/v1/faults", wanted).faults

    def groups(self) -> list[Group]:
        return self._get(Groups, "/v1/groups").groups

    def group(self, group_id: str) -> Group:
        return self._get(Groups, f"/v1/groups/{quote(group_id, safe='')}").groups[0]

    def _get(
        self, kind: type[_Answer], path: str, query: dict[str, str | None] | None = None
    ) -> _Answer:
        url = f"{self._url}{path}"
        try:
            answer = self._adapter.get(
                path,
                params=query,  # without those that are None
                raise_exc=False,
                redirect=False,  # a controller sends nobody elsewhere, and nobody else may know
                timeout=TIMEOUT_S,
            )
        except keystone_errors.ConnectionError as error:
            raise GuestHealthError(f"{url}: {_unreachable(error)}") from error
        except keystone_errors.ClientException as error:  # Keystone's own, for one
            raise GuestHealthError(error) from error
        try:
            if answer.status_code == 200:
                return msgspec.json.decode(answer.content, type=kind)
            why = msgspec.json.decode(answer.content, type=Refusal).error
        except msgspec.MsgspecError as error:
            raise GuestHealthError(
                f"{url}: HTTP {answer.status_code}, and not what a reachthru controller with "
                f"API version 1 says: {error}"
            ) from error
        if answer.status_code == 404:
            raise NotFoundError(f"{why} ({url})")
        raise GuestHealthError(f"{url}: {why} (HTTP {answer.status_code})")


def from_client(client: Any) -> GuestHealthApi:
    """Where `client`, OpenStackClient's ClientManager, says. Raises `GuestHealthError`."""
    try:
        endpoint = client.get_endpoint_for_service_type(
            SERVICE_TYPE, region_name=client.region_name, interface=client.interface
        )
    except keystone_errors.CatalogException as error:
        region = f" in region {client.region_name}" if client.region_name else ""
        raise GuestHealthError(
            f"the service catalogue has no {client.interface} endpoint of the type "
            f"{SERVICE_TYPE}{region}; --os-guest-health-endpoint-override names a controller"
        ) from error
    return GuestHealthApi(client.session, endpoint)


def _unreachable(error: keystone_errors.ConnectionError) -> str:
    if isinstance(error, keystone_errors.SSLError):
        return f"no TLS with it: {error.__context__}; --os-cacert names the authority of a cloud"
    if isinstance(error, keystone_errors.ConnectTimeout):
        return f"it does not answer in {TIMEOUT_S:.0f} s"
    return "no connection; is the controller running there?"
