"""Servers that several folders' tests share: one a session, started when a test first asks."""

import pytest
from servers.postgresql import PostgresqlServer


@pytest.fixture(scope="session")
def postgresql_server():
    """For tests that leave it running; one that stops it starts its own."""
    with PostgresqlServer() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server):
    """A fresh, empty database."""
    return postgresql_server.make_database()
