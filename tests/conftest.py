"""Servers that several folders' tests share: one a session, started when a test first asks."""

import pytest

from servers.rabbitmq import RabbitMqServer


@pytest.fixture(scope="session")
def rabbitmq_server():
    """For tests that leave it running; one that stops it starts its own."""
    with RabbitMqServer() as server:
        yield server
