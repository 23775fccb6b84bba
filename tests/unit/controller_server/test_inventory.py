"""Hosts and instances, from agents' reports and last wills; the leader writes them down."""

import asyncio
import json
import uuid

import pytest
from msgspec import structs
from sqlalchemy import text

from reachthru.bus import agent_bus, controller_bus
from reachthru.controller_server import inventory as inventory_module
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.inventory import Inventory
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.inventory import load_hosts, load_instances
from reachthru.protocol.agent_bus import AgentOffline, ReportRequest


@pytest.fixture
def hub():
    return EventHub()


@pytest.fixture
async def bus():
    async with controller_bus(f"memory://{uuid.uuid4().hex}", "a") as entered:
        yield entered


@pytest.fixture
async def inventory(database, bus, hub):
    """It leads."""
    made = Inventory(database, bus, Census(), hub, lambda: True)
    writing = asyncio.create_task(made.run())
    yield made
    writing.cancel()


def uuids(inventory):
    return [(instance.uuid, instance.host) for instance in inventory.instances()]


async def stored(database):
    rows = await database.read(load_instances)
    return sorted((instance.uuid, instance.host) for instance in rows)


async def until_stored(database, expected):
    async with asyncio.timeout(20):
        while await stored(database) != expected:
            await asyncio.sleep(0.005)


async def test_a_full_report_is_everything(inventory, make_report, database):
    inventory.take_report(make_report("a", "b"))
    inventory.take_report(make_report("b", "c"))
    assert uuids(inventory) == [("b", "compute-0"), ("c", "compute-0")]
    await until_stored(database, uuids(inventory))


async def test_a_partial_report_adds_changes_and_removes_what_it_names(
    inventory, make_report, database
):
    inventory.take_report(make_report("a", "b"))
    inventory.take_report(make_report("c", full=False, gone=["a", "never-here"]))
    assert uuids(inventory) == [("b", "compute-0"), ("c", "compute-0")]
    await until_stored(database, uuids(inventory))


async def test_what_an_agent_notes_of_an_instance_is_shown(inventory, make_report, database):
    report = make_report("a")
    report.instances[0].note = "no port"
    inventory.take_report(report)
    assert [instance.note for instance in inventory.instances()] == ["no port"]
    await until_stored(database, uuids(inventory))


async def test_a_host_is_online_until_its_agent_leaves(inventory, make_report):
    inventory.take_report(make_report("a", lateness_ms=3.5, agent_version="1.2"))
    (host,) = inventory.hosts()
    assert (host.host, host.state, host.guests) == ("compute-0", "online", 1)
    assert (host.lateness_ms, host.agent_version) == (3.5, "1.2")
    for clean in (True, False):
        inventory.take_report(make_report("a"))
        inventory.take_offline(AgentOffline(host="compute-0", clean=clean))
        (host,) = inventory.hosts()
        assert host.state == "offline"


async def test_an_instance_that_migrates_is_on_one_host(inventory, make_report):
    inventory.take_report(make_report("a", host="source"))
    inventory.take_report(make_report("a", host="destination", registered=False))
    assert uuids(inventory) == [("a", "source")]
    inventory.take_report(make_report("a", host="destination"))
    assert uuids(inventory) == [("a", "destination")]
    inventory.take_report(make_report(host="source", full=False, gone=["a"]))
    assert uuids(inventory) == [("a", "destination")]
    assert inventory.instance("a").uuid == "a"
    assert inventory.instance("b") is None


async def test_whoever_follows_hears_news_only(inventory, make_report, hub):
    follower = hub.follow()
    inventory.take_report(make_report("a"))
    inventory.take_report(make_report("a"))
    inventory.take_report(make_report())
    inventory.take_offline(AgentOffline(host="compute-0", clean=True))
    inventory.take_offline(AgentOffline(host="compute-0", clean=True))
    hub.publish("end", make_report())
    heard = []
    async for event in follower.events():
        if event.kind == "end":
            break
        data = json.loads(event.data)
        heard.append((event.kind, data.get("state"), data.get("removed")))
    assert heard == [
        ("host", "online", None),
        ("instance", "running", None),
        ("host", "online", None),  # it carries no guest any more
        ("instance", None, True),
        ("host", "offline", None),
    ]


async def test_an_agent_that_is_alive_in_spite_of_its_will_is_found(database, hub, make_report):
    url = f"memory://{uuid.uuid4().hex}"
    async with controller_bus(url, "a") as bus, agent_bus(url, "compute-0") as agent:
        inventory = Inventory(database, bus, Census(), hub, lambda: True)
        inventory.take_report(make_report())
        inventory.take_offline(AgentOffline(host="compute-0", clean=False))
        async for message in agent.messages():
            assert message == ReportRequest()
            break


async def test_who_misses_the_roll_call_is_offline(inventory, make_report, monkeypatch):
    monkeypatch.setattr(inventory_module, "ROLL_CALL_S", 0.1)
    inventory.take_report(make_report(host="gone"))
    inventory.take_report(make_report(host="there"))
    call = asyncio.create_task(inventory.call_the_roll())
    await asyncio.sleep(0)
    inventory.take_report(make_report(host="there"))
    await call
    states = {host.host: host.state for host in inventory.hosts()}
    assert states == {"gone": "offline", "there": "online"}


async def test_a_follower_knows_all_and_writes_nothing(database, bus, hub, make_report):
    following = Inventory(database, bus, Census(), hub, lambda: False)
    writing = asyncio.create_task(following.run())
    following.take_report(make_report("a"))
    await asyncio.sleep(0.1)
    assert uuids(following) == [("a", "compute-0")]
    assert await stored(database) == []
    writing.cancel()


async def test_the_next_controller_knows_what_the_last_one_was_told(
    inventory, database, bus, make_report
):
    inventory.take_report(make_report("a", "moves", host="compute-0"))
    inventory.take_report(make_report("moves", host="compute-1"))
    inventory.take_report(make_report(host="compute-2"))
    inventory.take_offline(AgentOffline(host="compute-1", clean=False))
    inventory.take_offline(AgentOffline(host="compute-2", clean=True))
    inventory.take_offline(AgentOffline(host="compute-2", clean=False))  # its will, after all
    async with asyncio.timeout(20):
        while (await database.read(load_hosts))[1] != {"compute-2"}:
            await asyncio.sleep(0.005)
    census = Census()
    later = Inventory(database, bus, census, EventHub(), lambda: False)
    assert await later.load() == {"compute-2"}
    known = [structs.replace(host, clock_ms=None) for host in inventory.hosts()]
    assert later.hosts() == known  # of clocks, each controller has its own opinion
    assert later.instances() == inventory.instances()
    assert census.carries("compute-0", "moves") and census.carries("compute-1", "moves")


async def test_whoever_takes_over_writes_down_who_is_offline_and_asks_all_for_reports(
    database, hub, make_report
):
    url, leads = f"memory://{uuid.uuid4().hex}", []
    async with controller_bus(url, "a") as bus, agent_bus(url, "compute-0") as agent:
        inventory = Inventory(database, bus, Census(), hub, lambda: bool(leads))
        leader = Inventory(database, bus, Census(), hub, lambda: True)
        writing = [asyncio.create_task(each.run()) for each in (inventory, leader)]
        for each in (inventory, leader):
            each.take_report(make_report("a"))
        await until_stored(database, [("a", "compute-0")])
        inventory.take_offline(AgentOffline(host="compute-0", clean=False))  # the leader is dead
        leads.append(True)
        await inventory.take_over()
        async with asyncio.timeout(20):
            while (await database.read(load_hosts))[0][0].state != "offline":
                await asyncio.sleep(0.005)
        assert await anext(aiter(agent.messages())) == ReportRequest()
        for task in writing:
            task.cancel()


async def test_what_has_not_changed_is_not_written_again(inventory, make_report, database):
    inventory.take_report(make_report("a", "b"))
    await until_stored(database, [("a", "compute-0"), ("b", "compute-0")])
    await database.write(lambda c: c.execute(text("UPDATE instances SET name = 'written before'")))
    inventory.take_report(make_report("a", full=False))
    inventory.take_report(make_report("c", full=False))
    await until_stored(database, [(uuid, "compute-0") for uuid in "abc"])
    rows = {row.uuid: row.name for row in await database.read(load_instances)}
    assert (rows["a"], rows["b"]) == ("written before", "written before")
    assert rows["c"] != "written before"


async def test_what_the_database_missed_is_asked_for_once_it_takes_writes(
    inventory, bus, make_report, database, monkeypatch
):
    asked = []
    monkeypatch.setattr(bus, "offer", lambda host, message: asked.append((host, type(message))))
    write, failures = database.write, []

    async def fail_once(operation):
        if not failures:
            failures.append(operation)
            raise DatabaseError("disk full")
        return await write(operation)

    monkeypatch.setattr(database, "write", fail_once)
    inventory.take_report(make_report("a"))
    async with asyncio.timeout(20):
        while not failures:
            await asyncio.sleep(0.005)
    assert asked == []
    inventory.take_report(make_report("a", full=False))
    async with asyncio.timeout(20):
        while not asked:
            await asyncio.sleep(0.005)
    assert asked == [("compute-0", ReportRequest)]
