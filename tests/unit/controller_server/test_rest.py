"""The REST API, as its callers see it."""

import asyncio
import uuid

import pytest
from litestar.testing import AsyncTestClient
from sqlalchemy import text

from reachthru.bus import controller_bus, memory
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.rest import rest_app
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.deliveries import Outcome


@pytest.fixture
async def controller(database, ledger, make_node):
    name = uuid.uuid4().hex
    async with controller_bus(f"memory://{name}", "a") as bus:
        hub, metrics = EventHub(), Metrics()
        node = make_node(bus, events=hub, metrics=metrics)
        state = ControllerState(
            bus=bus,
            database=database,
            ledger=ledger,
            inventory=node.inventory,
            groups=node.groups.directory,
            events=hub,
            metrics=metrics,
            leadership=node.leadership,
            watch=node.watch,
            forgetting=node.forgetting,
            sinks=("log", "webhook"),
        )
        broker = memory.broker(name)
        yield state
        broker.heal()


@pytest.fixture
async def client(controller):
    async with AsyncTestClient(rest_app(controller), raise_server_exceptions=False) as client:
        yield client


async def test_a_fault_has_every_field_that_others_rely_on(client, controller, arrived):
    await controller.ledger.add([arrived(1, raised_at="2026-01-01T00:00:00.000000+00:00")])
    answer = await client.get("/v1/faults")
    assert answer.status_code == 200
    (fault,) = answer.json()["faults"]
    assert set(fault.pop("stages_ms")) == {"detected", "deadline", "controller", "stored"}
    assert fault == {
        "id": "fault-1",
        "kind": "heartbeat_lost",
        "severity": "critical",
        "status": "raised",
        "instance_uuid": "uuid-1",
        "instance_name": "db",
        "host": "compute-0",
        "raised_at": "2026-01-01T00:00:00.000000+00:00",
        "cleared_at": None,
        "detail": "no answer",
        "corrective_action": "none",
        "deliveries": [
            {"sink": "log", "state": "pending", "attempts": 0},
            {"sink": "webhook", "state": "pending", "attempts": 0},
        ],
        "correlated_to": None,
        "instances": [],
    }


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["c", "b", "a"]),
        ("?active=true", ["b", "a"]),
        ("?active=false", ["c"]),
        ("?active=true&instance=u2", ["b"]),
        ("?host=compute-9", ["b"]),
        ("?active=true&instance=&host=&limit=1", ["b"]),
        ("?marker=c", ["b", "a"]),
        ("?marker=b&limit=1", ["a"]),
        ("?marker=a", []),
    ],
)
async def test_faults_can_be_filtered(client, controller, arrived, query, ids):
    await controller.ledger.add(
        [
            arrived(1, fault_id="a"),
            arrived(2, fault_id="b", instance_uuid="u2", host="compute-9"),
            arrived(3, fault_id="c"),
            arrived(4, fault_id="c", status="cleared"),
        ]
    )
    answer = await client.get(f"/v1/faults{query}")
    assert [fault["id"] for fault in answer.json()["faults"]] == ids


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/faults?limit=0", 400, "limit"),
        ("/v1/faults?limit=10001", 400, "limit"),
        ("/v1/faults?limit=many", 400, "limit"),
        ("/v1/faults?marker=nobody", 400, "nobody"),
        ("/v1/faults?active=perhaps", 400, "active"),
        ("/v1/instances/nobody", 404, "nobody"),
        ("/v1/nothing", 404, "Not Found"),
        ("/", 404, "Not Found"),
    ],
)
async def test_a_wrong_question_is_answered_clearly(client, path, status, words):
    answer = await client.get(path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert words in answer.json()["error"]


async def test_writing_is_not_offered(client):
    answer = await client.post("/v1/faults", json={})
    assert answer.status_code == 405
    assert set(answer.json()) == {"error"}


async def test_our_own_error_is_never_a_stack_trace(client, controller, monkeypatch, caplog):
    async def broken(_wanted):
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr(controller.ledger, "faults", broken)
    answer = await client.get("/v1/faults")
    assert answer.status_code == 500
    assert set(answer.json()) == {"error"}
    assert "secret" not in answer.text
    assert "a secret of ours" in caplog.text


async def test_instances_and_hosts_are_as_reported(client, controller, make_report):
    controller.inventory.take_report(make_report("a", "b"))
    answer = await client.get("/v1/instances")
    assert answer.json()["instances"][0] == {
        "uuid": "a",
        "name": "name of a",
        "host": "compute-0",
        "state": "running",
        "interval_ms": None,
        "last_seen_at": None,
        "registered": True,
        "health": None,
        "note": "",
    }
    one = await client.get("/v1/instances/b")
    assert [instance["uuid"] for instance in one.json()["instances"]] == ["b"]
    hosts = await client.get("/v1/hosts")
    assert hosts.json() == {
        "hosts": [
            {
                "host": "compute-0",
                "state": "online",
                "agent_version": "1.0",
                "guests": 2,
                "lateness_ms": 0.5,
                "waiting": 0,
                "outbox_durable": True,
            }
        ]
    }


async def test_readiness_names_the_role(client, controller, wait_until):
    assert (await client.get("/readyz")).json() == {"status": "ready", "role": "follower"}
    leading = asyncio.create_task(controller.leadership.run())
    await wait_until(controller.leadership.leads)
    assert (await client.get("/readyz")).json() == {"status": "ready", "role": "leader"}
    assert "reachthru_controller_leader 1.0" in (await client.get("/metrics")).text.splitlines()
    leading.cancel()
    await controller.leadership.close()
    assert "reachthru_controller_leader 0.0" in (await client.get("/metrics")).text.splitlines()


async def test_readiness_needs_the_bus(client, controller):
    assert (await client.get("/readyz")).status_code == 200
    controller.bus._broker.cut()
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "bus" in answer.json()["error"]
    assert (await client.get("/healthz")).status_code == 200


async def test_readiness_needs_the_database(client, controller):
    with pytest.raises(DatabaseError):
        await controller.database.write(lambda c: c.execute(text("DROP TABLE nothing")))
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "database" in answer.json()["error"]


async def test_metrics_count_faults_deliveries_backlog_and_agents(
    client, controller, arrived, make_change, make_report
):
    controller.inventory.take_report(make_report("a"))
    stored = await controller.ledger.add([arrived(1), arrived(2)])
    controller.metrics.stored(item.change for item in stored)
    controller.metrics.attempted(
        Outcome(change_id=1, sink="webhook", state="done", attempts=1, done_ms=20.0)
    )
    controller.metrics.attempted(Outcome(change_id=2, sink="webhook", state="pending", attempts=1))
    controller.bus.refused["garbled"] += 3
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'reachthru_fault_changes_total{kind="heartbeat_lost",status="raised"} 2.0',
        'reachthru_delivery_attempts_total{outcome="done",sink="webhook"} 1.0',
        'reachthru_delivery_attempts_total{outcome="retried",sink="webhook"} 1.0',
        'reachthru_delivery_latency_seconds_bucket{le="0.025",sink="webhook"} 1.0',
        'reachthru_delivery_backlog_changes{sink="webhook"} 2.0',
        'reachthru_bus_refused_messages_total{reason="garbled"} 3.0',
        "reachthru_agents_connected 1.0",
        "reachthru_bus_connected 1.0",
    ):
        assert line in lines


async def test_metrics_are_there_without_a_database(client, controller):
    with pytest.raises(DatabaseError):
        await controller.database.write(lambda c: c.execute(text("DROP TABLE nothing")))
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    lines = answer.text.splitlines()
    assert "reachthru_database_connected 0.0" in lines
    assert "reachthru_bus_connected 1.0" in lines
    assert not any(line.startswith("reachthru_delivery_backlog_changes{") for line in lines)


async def test_groups_are_listed_with_their_members(client, controller, tmp_path):
    assert (await client.get("/v1/groups")).json() == {"groups": []}
    (tmp_path / "groups.yaml").write_text("db: [uuid-1]\nempty: []\n")
    await controller.groups.refresh()
    member = {"uuid": "uuid-1", "name": "uuid-1", "host": None, "state": "stopped"}
    group = {"id": "db", "name": "db", "members": [member]}
    assert (await client.get("/v1/groups")).json() == {
        "groups": [group, {"id": "empty", "name": "empty", "members": []}]
    }
    assert (await client.get("/v1/groups/db")).json() == {"groups": [group]}


async def test_a_group_that_nobody_knows_is_an_error(client):
    answer = await client.get("/v1/groups/nobody")
    assert answer.status_code == 404
    assert answer.json() == {"error": "no server group nobody"}


async def test_a_host_that_reports_or_that_nobody_knows_is_not_forgotten(
    client, controller, make_report
):
    controller.inventory.take_report(make_report("uuid-1", host="compute-0"))
    answer = await client.delete("/v1/hosts/compute-0")
    assert answer.status_code == 409 and "stop it first" in answer.json()["error"]
    assert len((await client.get("/v1/hosts")).json()["hosts"]) == 1
    answer = await client.delete("/v1/hosts/compute-9")
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        "no controller knows a host compute-9",
    )
