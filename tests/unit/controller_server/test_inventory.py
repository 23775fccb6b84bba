"""Hosts and instances, from agents' reports and last wills."""

import asyncio
import json
import uuid

import pytest

from reachthru.bus import agent_bus, controller_bus
from reachthru.controller_server import inventory as inventory_module
from reachthru.controller_server.events import EventHub
from reachthru.controller_server.inventory import Inventory
from reachthru.protocol.agent_bus import AgentOffline, ReportRequest


@pytest.fixture
def hub():
    return EventHub()


@pytest.fixture
async def bus():
    async with controller_bus(f"memory://{uuid.uuid4().hex}", "a") as entered:
        yield entered


@pytest.fixture
def inventory(database, bus, hub):
    return Inventory(database, bus, hub)


async def uuids(inventory):
    return [(instance.uuid, instance.host) for instance in await inventory.instances()]


async def test_a_full_report_is_everything(inventory, make_report):
    await inventory.take_report(make_report("a", "b"))
    await inventory.take_report(make_report("b", "c"))
    assert await uuids(inventory) == [("b", "compute-0"), ("c", "compute-0")]


async def test_a_partial_report_adds_changes_and_removes_what_it_names(inventory, make_report):
    await inventory.take_report(make_report("a", "b"))
    await inventory.take_report(make_report("c", full=False, gone=["a", "never-here"]))
    assert await uuids(inventory) == [("b", "compute-0"), ("c", "compute-0")]


async def test_a_host_is_online_until_its_agent_leaves(inventory, make_report):
    await inventory.take_report(make_report("a", lateness_ms=3.5, agent_version="1.2"))
    (host,) = await inventory.hosts()
    assert (host.host, host.state, host.guests) == ("compute-0", "online", 1)
    assert (host.lateness_ms, host.agent_version) == (3.5, "1.2")
    for clean in (True, False):
        await inventory.take_report(make_report("a"))
        await inventory.take_offline(AgentOffline(host="compute-0", clean=clean))
        (host,) = await inventory.hosts()
        assert host.state == "offline"


async def test_an_instance_that_migrates_is_on_one_host(inventory, make_report):
    await inventory.take_report(make_report("a", host="source"))
    await inventory.take_report(make_report("a", host="destination", registered=False))
    assert await uuids(inventory) == [("a", "source")]
    await inventory.take_report(make_report("a", host="destination"))
    assert await uuids(inventory) == [("a", "destination")]
    await inventory.take_report(make_report(host="source", full=False, gone=["a"]))
    assert await uuids(inventory) == [("a", "destination")]
    assert [instance.uuid for instance in await inventory.instances("a")] == ["a"]
    assert await inventory.instances("b") == []


async def test_whoever_follows_hears_news_only(inventory, make_report, hub):
    follower = hub.follow()
    await inventory.take_report(make_report("a"))
    await inventory.take_report(make_report("a"))
    await inventory.take_report(make_report())
    await inventory.take_offline(AgentOffline(host="compute-0", clean=True))
    await inventory.take_offline(AgentOffline(host="compute-0", clean=True))
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
        inventory = Inventory(database, bus, hub)
        await inventory.take_report(make_report())
        await inventory.take_offline(AgentOffline(host="compute-0", clean=False))
        async for message in agent.messages():
            assert message == ReportRequest()
            break


async def test_who_misses_the_roll_call_is_offline(inventory, make_report, monkeypatch):
    monkeypatch.setattr(inventory_module, "ROLL_CALL_S", 0.1)
    await inventory.take_report(make_report(host="gone"))
    await inventory.take_report(make_report(host="there"))
    call = asyncio.create_task(inventory.call_the_roll())
    await asyncio.sleep(0)
    await inventory.take_report(make_report(host="there"))
    await call
    states = {host.host: host.state for host in await inventory.hosts()}
    assert states == {"gone": "offline", "there": "online"}
