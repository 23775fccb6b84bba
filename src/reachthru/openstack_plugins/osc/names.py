"""What people call servers and groups."""

import re
import uuid
from collections.abc import Collection
from typing import Any

from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from reachthru.openstack_plugins.osc.api import GuestHealthApi, GuestHealthError, NotFoundError
from reachthru.openstack_plugins.osc.records import Group


def server_id(client: Any, name_or_id: str) -> str:
    """Of a name that a host agent reported, else of one that Nova knows in the user's project.

    A UUID stands for itself: of a server that is deleted there still are faults. `client` is
    OpenStackClient's ClientManager. Raises `GuestHealthError`.
    """
    try:
        return str(uuid.UUID(name_or_id))
    except ValueError:
        pass
    api: GuestHealthApi = client.guest_health
    ids = {found.uuid for found in api.instances() if found.name == name_or_id}
    return _only("server", name_or_id, ids or _ids_of_nova(client, name_or_id))


def group(api: GuestHealthApi, name_or_id: str) -> Group:
    """Raises `GuestHealthError`."""
    try:
        return api.group(name_or_id)
    except NotFoundError:
        named = {group.id: group for group in api.groups() if group.name == name_or_id}
        return named[_only("server group", name_or_id, named)]


def _ids_of_nova(client: Any, name: str) -> set[str]:
    try:
        # Nova takes a regular expression, and its database says of which kind.
        found = client.compute.servers(details=False, name=re.escape(name))
        return {server.id for server in found if server.name == name}
    except (ClientException, SDKException):
        return set()  # then nobody knows the name


def _only(what: str, wanted: str, ids: Collection[str]) -> str:
    if not ids:
        raise NotFoundError(f"no {what} {wanted}")
    if len(ids) > 1:
        raise GuestHealthError(
            f"{wanted} is the name of {len(ids)} {what}s: {', '.join(sorted(ids))}"
        )
    return next(iter(ids))
