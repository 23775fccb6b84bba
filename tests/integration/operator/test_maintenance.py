"""A maintenance window, from the command line to a sink, with two controllers."""

import asyncio
import json

import httpx

from lab.controllers import Agent, until


async def test_a_window_holds_back_what_ends_within_it_and_tells_the_rest_when_it_expires(
    controllers, broker, postgresql_url, webhook, reachthru
):
    one, other = await controllers(postgresql_url, postgresql_url)
    async with Agent(broker.url, "compute-0", ["u1", "u2"]) as agent:
        for controller in (one, other):
            while len((await controller.get("/v1/instances"))["instances"]) < 2:
                await agent.report()
        words = ("--host", "compute-0", "--for", "8s", "--reason", "new disks")
        window = json.loads(await reachthru(one, "maintenance", "start", *words, "--json"))
        assert (window["scope"], window["state"]) == ("host", "active")
        stays = agent.change("u1", "raised")
        passes = agent.change("u2", "raised")
        agent.change("u2", "cleared")
        await until(lambda: not agent.waiting)
        seen = json.loads(await reachthru(other, "faults", "--json"))["faults"]
        assert {fault["id"]: fault["maintenance"] for fault in seen} == {
            stays: window["id"],
            passes: window["id"],
        }
        assert "new disks" in await reachthru(other, "maintenance", "list")
        assert webhook.told == []
        heard = asyncio.create_task(next_fault(other))
        await until(lambda: webhook.told)  # by itself
        let_go = await heard
        assert (let_go["id"], let_go["status"], let_go["maintenance"]) == (stays, "raised", None)
        agent.change("u1", "cleared")
        await until(lambda: len(webhook.told) > 1)
        await asyncio.sleep(1.5)
        assert webhook.keys == [(stays, "raised"), (stays, "cleared")]
        assert await reachthru(other, "maintenance", "list", "--json") == '{"maintenance": []}\n'
    logs = one.log() + other.log()
    assert f"maintenance {window['id']} of host compute-0: it starts, until" in logs
    assert "its time is over" in logs


async def next_fault(controller):
    """Of the events from now on."""
    address = f"http://127.0.0.1:{controller.api_port}/v1/events"
    async with (
        asyncio.timeout(60),
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", address) as answer,
    ):
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == "fault":
                return json.loads(line.removeprefix("data: "))
    return None


async def test_an_operator_ends_one_and_what_is_still_wrong_is_told(
    controllers, broker, sqlite, webhook, reachthru
):
    (controller,) = await controllers(sqlite)
    async with Agent(broker.url, "compute-1", ["u1"]) as agent:
        while not (await controller.get("/v1/instances"))["instances"]:
            await agent.report()
        started = await reachthru(
            controller, "maintenance", "start", "--instance", "u1", "--for", "1h"
        )
        agent.change("u1", "raised")
        await until(lambda: not agent.waiting)
        window_id = started.partition(":")[0]
        assert "is over" in await reachthru(controller, "maintenance", "end", window_id)
        await until(lambda: webhook.told)
