"""A service of OpenStack's, found and asked with a real Keystone's help."""

import asyncio
import contextlib
import json

import pytest
from openstack import connect

from reachthru import service
from reachthru.controller_server import sinks
from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks.base import NotNowError
from reachthru.controller_server.sinks.doctor import DoctorSink
from reachthru.controller_server.sinks.http import ServiceClient

pytestmark = pytest.mark.xdist_group("keystone")  # one for all


@pytest.fixture
async def service_of_openstack():
    """Takes each token but those in `refused`; keeps what it saw."""
    seen, refused = [], set()

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
                token = dict(line.split(": ", 1) for line in head[1:] if line)["X-Auth-Token"]
                seen.append((head[0].split()[1], token))
                status = "401 Unauthorized" if token in refused else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.seen, server.refused = seen, refused
    yield server
    server.close()


@pytest.fixture
def settings_of_admin(keystone, tmp_path):
    """settings_of_admin(section, **options) -> (its file, the settings in it)"""

    def make(section, **options):
        options = {
            "auth_type": "password", "auth_url": keystone.url, "cafile": keystone.ca,
            "username": "admin", "password": keystone.password, "user_domain_id": "default",
            "project_name": "admin", "project_domain_id": "default", "region_name": "one",
        } | options  # fmt: skip
        lines = "".join(f"{key} = {value}\n" for key, value in options.items())
        path = tmp_path / "controller.conf"
        path.write_text(f"[{section}]\n{lines}")
        path.chmod(0o600)
        return path, service.load(path, sinks.options())

    return make


@pytest.fixture
def make_client(settings_of_admin):
    def make(**options):
        _path, conf = settings_of_admin("sink_masakari", **options)
        return ServiceClient(conf, "sink_masakari", "instance-ha")

    return make


@pytest.fixture
def raised_fault():
    return Fault(
        id="fault-1", kind="heartbeat_lost", severity="critical", status="raised",
        instance_uuid="uuid-1", instance_name="db", host="compute-0",
        raised_at="2026-01-01T00:00:00.000000+00:00", cleared_at=None, detail="no answer",
        corrective_action="none", stages_ms={}, deliveries=[],
    )  # fmt: skip


@pytest.fixture
def cataloged(keystone, service_of_openstack):
    """The service is in Keystone's catalog, its path with the project."""
    identity = connect(
        auth=keystone.auth("admin", project_name="admin"),
        cacert=str(keystone.ca),
        region_name="one",
    ).identity
    made = identity.create_service(name="masakari", type="instance-ha")
    identity.create_endpoint(
        service_id=made.id,
        interface="public",
        region_id="one",
        url=f"{service_of_openstack.url}/v1/$(project_id)s",
    )
    yield
    identity.delete_service(made)


async def test_a_service_is_found_in_the_catalog(
    cataloged, keystone, service_of_openstack, make_client
):
    project = await asyncio.to_thread(keystone.project, "admin")
    async with make_client() as client:
        for _ in range(3):
            await client.ask("POST", "/notifications", {})
    assert {path for path, _ in service_of_openstack.seen} == {f"/v1/{project}/notifications"}
    assert len({token for _, token in service_of_openstack.seen}) == 1  # kept, not asked anew


async def test_a_sink_finds_vitrage_in_the_catalog(
    keystone, service_of_openstack, settings_of_admin, raised_fault
):
    await asyncio.to_thread(keystone.endpoint, "rca", service_of_openstack.url)
    path, conf = settings_of_admin("sink_doctor", shape="vitrage")
    try:
        async with DoctorSink.configured(path, conf) as sink:
            await sink.deliver(raised_fault)
    finally:
        await asyncio.to_thread(keystone.forget, "rca")
    assert [path for path, _ in service_of_openstack.seen] == ["/v1/event"]


async def test_a_refused_token_is_renewed_once(service_of_openstack, make_client):
    async with make_client(endpoint_override=service_of_openstack.url) as client:
        await client.ask("POST", "/a", {})
        ((_, first),) = service_of_openstack.seen
        service_of_openstack.refused.add(first)
        await asyncio.sleep(1.1)  # Keystone's tokens of one second may be the same
        await client.ask("POST", "/b", {})
        await client.ask("POST", "/c", {})
        paths = [path for path, _ in service_of_openstack.seen]
        assert paths == ["/a", "/b", "/b", "/c"]
        assert service_of_openstack.seen[-1][1] != first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"password": "hunter2"}, "Keystone: .*(HTTP 401|requires authentication)"),
        ({}, "Keystone.* endpoint_override"),  # no such service in the catalog
    ],
)
async def test_why_there_is_no_token_or_no_service_is_said(make_client, options, says):
    async with make_client(**options) as client:
        with pytest.raises(NotNowError, match=says) as caught:
            await client.ask("POST", "/", {})
    assert "hunter2" not in json.dumps(str(caught.value))
