"""Servers that several folders' tests share: one a session, started when a test first asks."""

import pytest
from sqlalchemy import create_engine

from reachthru.controller_server.store import schema
from servers.pki import Pki
from servers.postgresql import PostgresqlServer
from servers.rabbitmq import RabbitMqServer


@pytest.fixture(scope="session")
def postgresql_server():
    """For tests that leave it running; one that stops it starts its own."""
    with PostgresqlServer() as server:
        yield server


@pytest.fixture(scope="session")
def _migrated(postgresql_server):
    """The name of a database with the newest tables, to be copied."""
    url = postgresql_server.make_database()
    engine = create_engine(url)
    with engine.begin() as connection:
        schema.upgrade(connection)
    engine.dispose()
    return url.rpartition("/")[2]


@pytest.fixture
def empty_postgresql_url(postgresql_server):
    """A fresh database without tables."""
    return postgresql_server.make_database()


@pytest.fixture
def postgresql_url(postgresql_server, _migrated):
    """A fresh database with the newest tables."""
    return postgresql_server.make_database(_migrated)


@pytest.fixture(scope="session")
def rabbitmq_server():
    """For tests that leave it running; one that stops it starts its own."""
    with RabbitMqServer() as server:
        yield server


@pytest.fixture(scope="session")
def make_pki(tmp_path_factory):
    """make_pki() -> Pki: another authority each time."""
    return lambda: Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def pki(make_pki):
    return make_pki()


@pytest.fixture(scope="session")
def keystone(tmp_path_factory, pki):
    """With a reader of the system, a tenant, and a VNF manager in a project of its own."""
    from servers.keystone import Keystone  # openstacksdk takes a second

    server = Keystone(tmp_path_factory.mktemp("keystone"), pki)
    try:
        server.user("watcher", "reader")
        server.user("tenant", "reader", "tenants")
        server.user("vnf-manager", "reader", "vnf")
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def openstack(tmp_path_factory):
    """openstack(*words, **environment) -> Said, with no other OS_... variable than those."""
    from servers.openstackclient import OpenStackClient

    client = OpenStackClient(tmp_path_factory.mktemp("openstackclient"))
    yield client.run
    client.close()
