"""Nova's API, through openstacksdk. Every call here blocks: call it in a thread.

Reading the groups and servers of all projects needs what Nova's default policy gives an admin.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import openstack
from keystoneauth1 import exceptions as keystone_errors
from oslo_config import cfg

from reachthru.controller_server import keystone_session
from reachthru.controller_server.nova.cache import GroupListing, Server, Snapshot
from reachthru.controller_server.nova.news import flavor_status, iso_utc
from reachthru.secret_files import without_secrets

_Answer = TypeVar("_Answer")

# Status keys that the SDK calls otherwise.
_SDK_NAMES = {
    "display_name": "name",
    "state": "vm_state",
    "host": "compute_host",
    "node": "hypervisor_hostname",
    "tenant_id": "project_id",
}
_SAME_IN_SDK = ["hostname", "availability_zone", "created_at", "user_id", "metadata"]
_SAME_IN_SDK += ["reservation_id"]
# Where legacy notifications have "" for nothing.
_EMPTY_IN_SDK = ["launched_at", "terminated_at", "kernel_id", "ramdisk_id", "progress"]


class NovaUnavailableError(Exception):
    """Nova's API can't be asked, or didn't answer usefully; one line for the operator."""


class NovaForbiddenError(NovaUnavailableError):
    """It answers, and its policy does not let us."""


class NovaApi:
    """Connects at the first call. `conf` has a [nova] section with keystoneauth's options."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._compute: Any = None

    def snapshot(self) -> Snapshot:
        """All groups, and the servers in them. Raises `NovaUnavailableError`."""
        return self._ask(self._snapshot)

    def server(self, uuid: str) -> Server | None:
        """None: there is no such server. Raises `NovaUnavailableError`."""
        return self._ask(lambda: self._server(uuid))

    def try_reading(self) -> None:
        """As `snapshot`, and little of it. Raises `NovaUnavailableError`, `NovaForbiddenError`."""
        self._ask(self._try_reading)

    def _try_reading(self) -> None:
        next(iter(self._compute.server_groups(all_projects=True, limit=1)), None)
        next(iter(self._compute.servers(details=True, all_projects=True, limit=1)), None)

    def _snapshot(self) -> Snapshot:
        groups = [
            GroupListing(id=group.id, name=group.name or "", members=list(group.member_ids or ()))
            for group in self._compute.server_groups(all_projects=True)
        ]
        wanted = {uuid for group in groups for uuid in group.members}
        servers = {}
        if wanted:
            for server in self._compute.servers(details=True, all_projects=True):
                # Without a state: its cell's database is down, and Nova says next to nothing.
                if server.id in wanted and server.vm_state:
                    servers[server.id] = server_facts(server)
        return Snapshot(groups=groups, servers=servers)

    def _server(self, uuid: str) -> Server | None:
        try:
            server = self._compute.get_server(uuid)
        except openstack.exceptions.NotFoundException:
            return None
        if not server.vm_state:
            raise ValueError(f"server {uuid} has no state: its cell's database may be down")
        return server_facts(server)

    def _ask(self, call: Callable[[], _Answer]) -> _Answer:
        try:
            if self._compute is None:
                self._compute = self._connect()
            return call()
        except (
            openstack.exceptions.SDKException,
            keystone_errors.ClientException,
            # What answers is no Nova: HTML, or other JSON.
            ValueError,
            AttributeError,
            KeyError,
            TypeError,
        ) as error:
            self._compute = None
            reason = without_secrets(" ".join(str(error).split())) or type(error).__name__
            if getattr(error, "status_code", None) == 403:
                raise NovaForbiddenError(reason) from error
            raise NovaUnavailableError(reason) from error

    def _connect(self) -> Any:
        connection = openstack.connection.Connection(
            session=keystone_session.session(self._conf, "nova"),
            oslo_conf=self._conf,
            service_types=["compute"],
        )
        return connection.compute


def server_facts(server: Any) -> Server:
    """An `openstack.compute.v2.server.Server` as the cache wants it."""
    status = {key: getattr(server, name) for key, name in _SDK_NAMES.items()}
    status.update({key: getattr(server, key) for key in _SAME_IN_SDK})
    status = {key: value for key, value in status.items() if value is not None}
    status.update({key: getattr(server, key) or "" for key in _EMPTY_IN_SDK})
    status["instance_id"] = server.id
    # None is news here: the host of an instance that was shelved, the task that ended.
    status["host"], status["node"] = server.compute_host, server.hypervisor_hostname
    status["state_description"] = server.task_state or ""
    status["access_ip_v4"] = server.access_ipv4 or None
    status["access_ip_v6"] = server.access_ipv6 or None
    flavor = server.flavor
    if flavor is not None:
        status.update(
            flavor_status(
                name=flavor.original_name,
                memory_mb=flavor.ram,
                vcpus=flavor.vcpus,
                root_gb=flavor.disk,
                ephemeral_gb=flavor.ephemeral,
            )
        )
    return Server(
        uuid=server.id,
        name=server.instance_name or None,
        status=status,
        updated=iso_utc(server.updated_at or server.created_at),
    )
