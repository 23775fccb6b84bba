"""The REST API, as its callers see it."""

import asyncio
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from litestar.testing import AsyncTestClient
from sqlalchemy import text

from reachthru.bus import controller_bus, memory
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.maintenance import Maintenance
from reachthru.controller_server.metrics import Metrics
from reachthru.controller_server.rest import page as page_files
from reachthru.controller_server.rest import rest_app
from reachthru.controller_server.state import ControllerState
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.deliveries import Outcome
from reachthru.protocol.faults import Severity


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
            maintenance=Maintenance(
                database, node.groups.directory, leads=lambda: True, on_released=lambda _: None
            ),
            sinks=("log", "webhook"),
        )
        broker = memory.broker(name)
        yield state
        broker.heal()
    await database.write(lambda _connection: None)  # here: the client's own loop has ended


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
        "maintenance": None,
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
        ("/web/nothing.js", 404, "nothing.js"),
        ("/web/../app.py", 404, "Not Found"),
        ("/web/%2e%2e/rest/app.py", 404, "app.py"),
        ("/v1/faults/nobody", 404, "nobody"),
        ("/v1/faults?kind=flu", 400, "kind"),
        ("/v1/faults?worst_first=true&marker=a", 400, "marker"),
        ("/v1/instances?sort=shoe_size", 400, "shoe_size"),
        ("/v1/instances?offset=-1", 400, "offset"),
        ("/v1/instances?limit=0", 400, "limit"),
        ("/v1/groups?verdict=fine", 400, "verdict"),
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
        "health_detail": "",
        "round_trip_ms": None,
        "verdict": "well",
        "faults": [],
    }
    one = await client.get("/v1/instances/b")
    assert [instance["uuid"] for instance in one.json()["instances"]] == ["b"]
    hosts = (await client.get("/v1/hosts")).json()
    # The report says that it was sent on 2026-01-01.
    sent_at = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    behind_s = (datetime.now(UTC) - sent_at).total_seconds()
    assert abs(hosts["hosts"][0].pop("clock_ms") / 1000 + behind_s) < 60
    assert hosts == {
        "hosts": [
            {
                "host": "compute-0",
                "state": "online",
                "agent_version": "1.0",
                "guests": 2,
                "lateness_ms": 0.5,
                "waiting": 0,
                "outbox_durable": True,
                "verdict": "well",
                "verdicts": {"well": 2},
            }
        ],
        "total": 1,
    }


async def test_instances_are_judged_filtered_sorted_and_cut(
    client, controller, arrived, make_report, make_change
):
    controller.inventory.take_report(make_report("a", "b", "c"))
    controller.inventory.take_report(make_report("d", host="compute-9", registered=False))
    controller.inventory._census.take_faults([make_change(1, instance_uuid="b")])

    async def asked(query):
        answer = (await client.get(f"/v1/instances?{query}")).json()
        return [(one["uuid"], one["verdict"]) for one in answer["instances"]], answer["total"]

    assert await asked("sort=worst&limit=2") == ([("b", "failing"), ("d", "unwatched")], 4)
    assert await asked("sort=-name&offset=1&limit=1") == ([("c", "well")], 4)
    assert await asked("verdict=failing") == ([("b", "failing")], 1)
    assert await asked("host=compute-9") == ([("d", "unwatched")], 1)
    assert await asked("search=OF%20C") == ([("c", "well")], 1)
    hosts = (await client.get("/v1/hosts?sort=worst")).json()["hosts"]
    assert [(host["host"], host["verdict"]) for host in hosts] == [
        ("compute-0", "unwell"),
        ("compute-9", "well"),
    ]
    summary = (await client.get("/v1/summary")).json()
    assert summary["faults"] == {"critical": 1}
    assert {word: n for word, n in summary["instances"].items() if n} == {
        "failing": 1,
        "unwatched": 1,
        "well": 2,
    }


async def test_an_instance_has_its_round_trips_until_it_leaves(client, controller, make_report):
    report = make_report("a")
    for ms in (4.5, None, 9.25):
        report.instances[0].round_trip_ms = ms
        controller.inventory.take_report(report)
    one = (await client.get("/v1/instances/a")).json()
    at = report.sent_at
    assert one["round_trips"] == [{"at": at, "ms": 4.5}, {"at": at, "ms": 9.25}]
    assert one["instances"][0]["round_trip_ms"] == 9.25
    controller.inventory.take_report(make_report())
    controller.inventory.take_report(make_report("a"))
    assert (await client.get("/v1/instances/a")).json()["round_trips"] == []


async def test_faults_come_the_worst_first_and_each_with_its_changes(client, controller, arrived):
    await controller.ledger.add(
        [
            arrived(1, fault_id="a"),
            arrived(2, fault_id="b", severity=Severity.WARNING, kind="never_registered"),
            arrived(3, fault_id="c"),
            arrived(4, fault_id="c", status="cleared", detail="it is back"),
            arrived(5, fault_id="d", severity=Severity.MAJOR, kind="unhealthy"),
        ]
    )

    async def ids(query):
        answer = (await client.get(f"/v1/faults?{query}")).json()
        return [fault["id"] for fault in answer["faults"]]

    assert await ids("active=true&worst_first=true") == ["a", "d", "b"]
    assert await ids("severity=critical") == ["c", "a"]
    assert await ids("kind=unhealthy") == ["d"]
    changes = (await client.get("/v1/faults/c")).json()["changes"]
    assert [(change["status"], change["detail"]) for change in changes] == [
        ("raised", "no answer"),
        ("cleared", "it is back"),
    ]


async def test_the_page_is_served_with_its_locks_and_not_sent_twice(client):
    page = await client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    for name in re.findall(r'(?:href|src)="(web/[^"]+)"', page.text):
        asset = await client.get(f"/{name}")
        assert asset.status_code == 200, name
        policy = asset.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        seen = await client.get(f"/{name}", headers={"If-None-Match": asset.headers["etag"]})
        assert (seen.status_code, seen.content) == (304, b"")


def test_every_module_of_the_page_is_fetched_at_once():
    folder = Path(page_files.__file__).parents[1] / "web"
    named = set(re.findall(r'href="web/([^"]+\.js)"', (folder / "index.html").read_text()))
    imported = {
        str((file.parent / name).resolve().relative_to(folder))
        for file in folder.rglob("*.js")
        for name in re.findall(r'from "([^"]+)"', file.read_text())
    }
    assert named == imported


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


async def test_metrics_count_what_a_window_holds_back_and_lets_go(
    client, controller, arrived, make_report
):
    def held(text, what):
        return re.findall(rf'reachthru_delivery_{what}_changes_total{{sink="(\w+)"}} (\S+)', text)

    controller.inventory.take_report(make_report("uuid-1"))
    text = (await client.get("/metrics")).text
    assert (
        held(text, "suppressed") == held(text, "released") == [("log", "0.0"), ("webhook", "0.0")]
    )
    window = (await client.post("/v1/maintenance", json={"for_s": 60, "instance": "uuid-1"})).json()
    await controller.ledger.add(
        [arrived(1, fault_id="f"), arrived(2, fault_id="g"), arrived(3, instance_uuid="other")]
    )
    await controller.ledger.add([arrived(4, fault_id="g", status="cleared")])
    text = (await client.get("/metrics")).text
    assert held(text, "suppressed") == [("log", "3.0"), ("webhook", "3.0")]
    assert held(text, "released") == [("log", "0.0"), ("webhook", "0.0")]
    await client.delete(f"/v1/maintenance/{window['id']}")
    text = (await client.get("/metrics")).text
    assert held(text, "released") == [("log", "1.0"), ("webhook", "1.0")]
    assert held(text, "suppressed") == [("log", "3.0"), ("webhook", "3.0")]


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
    assert (await client.get("/v1/groups")).json() == {"groups": [], "total": 0}
    (tmp_path / "groups.yaml").write_text("db: [uuid-1]\nempty: []\n")
    await controller.groups.refresh()
    member = {"uuid": "uuid-1", "name": "uuid-1", "host": None, "state": "stopped"}
    group = {"id": "db", "name": "db", "members": [member], "verdict": "excused"}
    assert (await client.get("/v1/groups")).json() == {
        "groups": [group, {"id": "empty", "name": "empty", "members": [], "verdict": "well"}],
        "total": 2,
    }
    assert (await client.get("/v1/groups/db")).json() == {"groups": [group], "total": 1}


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


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"for_s": 60, "instance": "a"}, 201, "active"),
        ({"for_s": 60, "host": "compute-0", "reason": "disks"}, 201, "disks"),
        ({"for_s": 60}, 400, "exactly one"),
        ({"for_s": 60, "host": "compute-0", "group": "g"}, 400, "exactly one"),
        ({"for_s": 60, "host": "nobody"}, 404, "no host nobody"),
        ({"for_s": 60, "group": "nobody"}, 404, "no group nobody"),
        ({"for_s": 0, "instance": "a"}, 400, "for_s"),
        ({"for_s": 1e9, "instance": "a"}, 400, "for_s"),
        ({"for_s": 60, "instance": "a", "forever": True}, 400, "forever"),
        ({"instance": "a"}, 400, "for_s"),
    ],
)
async def test_a_window_is_started_for_something_that_there_is(
    client, controller, make_report, body, status, word
):
    controller.inventory.take_report(make_report("a"))
    answer = await client.post("/v1/maintenance", json=body)
    assert answer.status_code == status, answer.text
    assert word in answer.text
    listed = (await client.get("/v1/maintenance")).json()["maintenance"]
    assert listed == ([answer.json()] if status == 201 else [])


async def test_a_window_is_ended_and_remembered(client, controller, make_report):
    controller.inventory.take_report(make_report("a"))
    window = (await client.post("/v1/maintenance", json={"for_s": 60, "instance": "a"})).json()
    ended = await client.delete(f"/v1/maintenance/{window['id']}")
    assert (ended.status_code, ended.json()["state"]) == (200, "ended")
    assert (await client.get("/v1/maintenance")).json() == {"maintenance": []}
    everything = await client.get("/v1/maintenance?ended=true")
    assert [one["id"] for one in everything.json()["maintenance"]] == [window["id"]]
    assert (await client.delete("/v1/maintenance/nonsense")).status_code == 404
