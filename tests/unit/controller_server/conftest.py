"""A real database in a temporary folder, and fault changes to put in."""

import asyncio
import math
from datetime import UTC, datetime

import pytest

from reachthru.controller_server.cluster.node import Node
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.static import StaticDirectory
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.store.changes import Arrived
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.ledger import Ledger
from reachthru.protocol.agent_bus import AgentReport, FaultChange, InstanceReport
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity


@pytest.fixture
def make_change():
    """make_change(seq, fault_id=..., status=..., instance_uuid=..., ...) -> FaultChange"""

    def make(seq=1, **values):
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        cleared = values.get("status") == "cleared"
        defaults = {
            "fault_id": f"fault-{seq}",
            "seq": seq,
            "status": "raised",
            "kind": FaultKind.HEARTBEAT_LOST,
            "severity": Severity.CRITICAL,
            "instance_uuid": "uuid-1",
            "instance_name": "db",
            "host": "compute-0",
            "raised_at": now,
            "cleared_at": now if cleared else None,
            "detail": "no answer",
            "stages_ms": {"detected": 0.0, "deadline": -1.5},
        }
        made = defaults | values
        return FaultChange(
            **(made | {"status": FaultStatus(made["status"]), "kind": FaultKind(made["kind"])})
        )

    return make


@pytest.fixture
def arrived(make_change):
    """The same, as it came off the bus just now."""
    return lambda *args, **values: Arrived(make_change(*args, **values), datetime.now(UTC))


@pytest.fixture
def make_report():
    """make_report(uuids, full=..., ...) -> AgentReport"""

    def make(*uuids, registered=True, **values):
        instances = [
            InstanceReport(
                uuid=uuid, name=f"name of {uuid}", state="running", registered=registered
            )
            for uuid in uuids
        ]
        defaults = {
            "host": "compute-0",
            "agent_version": "1.0",
            "sent_at": "2026-01-01T00:00:00.000000+00:00",
            "lateness_ms": 0.5,
            "guests": len(uuids),
            "full": True,
            "instances": instances,
        }
        return AgentReport(**(defaults | values))

    return make


# What the store itself promises holds on either database.
ON_BOTH = {
    f"test_{name}"
    for name in (
        "claims",
        "database",
        "delivery",
        "feed",
        "inventory",
        "leases",
        "ledger",
        "maintenance",
        "outages",
        "upkeep",
    )
}


def pytest_generate_tests(metafunc):
    if (
        "database_url" in metafunc.fixturenames
        and metafunc.module.__name__.rpartition(".")[2] in ON_BOTH
    ):
        marks = metafunc.definition.iter_markers("parametrize")
        if not any(mark.args[0] == "database_url" for mark in marks):
            metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_url(request, tmp_path):
    """A fresh database, of either kind; SQLite, unless somebody asks for PostgreSQL."""
    if getattr(request, "param", "sqlite") == "postgresql":
        return request.getfixturevalue("postgresql_url")
    return f"sqlite:///{tmp_path}/deep/controller.sqlite"


@pytest.fixture
async def database(database_url):
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def ledger(database):
    return Ledger(database, ["log", "webhook"], "controller-1")


@pytest.fixture
def make_node(database, ledger, tmp_path):
    """make_node(bus, ...) -> Node, with groups from a file that may come late. Not opened."""

    def make(bus, **values):
        census = Census()
        defaults = {
            "database": database,
            "ledger": ledger,
            "census": census,
            "directory": StaticDirectory(tmp_path / "groups.yaml", census),
            "events": EventHub(),
            "metrics": Metrics(),
            "lost_after_s": math.inf,
            "show_hosts": False,
        }
        return Node(bus, **(defaults | values))

    return make


@pytest.fixture
def wait_until():
    """await wait_until(condition), which may be slow to come true."""

    async def wait(condition, deadline_s=20):
        async with asyncio.timeout(deadline_s):
            while not condition():
                await asyncio.sleep(0.005)

    return wait
