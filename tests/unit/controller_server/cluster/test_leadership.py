"""One controller leads, for as long as the database says so."""

import asyncio
import contextlib
import threading
import time

import pytest

from reachthru.controller_server.cluster import leadership as leadership_module
from reachthru.controller_server.cluster import lease as lease_module
from reachthru.controller_server.cluster.leadership import Leadership
from reachthru.controller_server.store import leases
from reachthru.controller_server.store.database import Database

TTL_S = 0.6


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for module, name, value in (
        (leases, "LEADER_TTL_S", TTL_S),
        (lease_module, "LEADER_TTL_S", TTL_S),
        (leadership_module, "RENEW_S", TTL_S / 4),
        (leadership_module, "UNLED_S", TTL_S * 1.25),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
async def run(database_url):
    """run(name) -> a Leadership that asks, with a connection of its own."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(name):
            database = Database(database_url)
            await database.open()
            stack.push_async_callback(database.close)
            made = Leadership(database, name)
            made.said = []
            made.on_change = made.said.append
            made.database = database
            made.task = asyncio.create_task(made.run())
            stack.callback(made.task.cancel)
            return made

        yield start


async def test_the_first_one_leads_and_goes_on(run, wait_until):
    first = await run("a")
    await wait_until(first.leads)
    second = await run("b")
    until = time.monotonic() + 3 * TTL_S
    while time.monotonic() < until:
        assert first.leads() and not second.leads()
        await asyncio.sleep(0.01)
    assert (first.said, second.said) == ([True], [])


async def test_when_the_leader_dies_another_one_leads_after_its_lease(run, wait_until):
    first = await run("a")
    await wait_until(first.leads)
    second = await run("b")
    first.task.cancel()  # without a word
    started = time.monotonic()
    await wait_until(second.leads)
    assert not first.leads()
    assert time.monotonic() - started < 2 * TTL_S
    assert second.said == [True]


async def test_a_leader_that_stops_lets_the_next_one_begin_at_once(run, wait_until):
    first = await run("a")
    await wait_until(first.leads)
    first.task.cancel()
    await first.close()
    assert not first.leads()
    second = await run("b")
    started = time.monotonic()
    await wait_until(second.leads)
    assert time.monotonic() - started < TTL_S / 2


async def test_a_leader_whose_database_is_silent_stops_by_itself(run, wait_until, caplog):
    first = await run("a")
    await wait_until(first.leads)
    stuck = threading.Event()
    writing = asyncio.ensure_future(first.database.write(lambda _c: stuck.wait(20)))
    await wait_until(lambda: first.said == [True, False])
    assert not first.leads()
    assert "its lease ran out" in caplog.text
    stuck.set()
    await writing
    await wait_until(first.leads)
    assert first.said == [True, False, True]


async def test_a_follower_knows_until_when_another_one_led(run, wait_until):
    first = await run("a")
    await wait_until(first.leads)
    second = await run("b")
    heard = []
    second.on_other = heard.append
    await wait_until(lambda: len(heard) > 2)
    assert all(until < time.monotonic() - TTL_S for until in heard)


async def test_a_database_that_fails_is_said_once(run, wait_until, monkeypatch, caplog):
    first = await run("a")
    await wait_until(first.leads)

    def broken(_connection, _owner):
        raise OSError("no route to it")

    monkeypatch.setattr(leases, "hold_lease", broken)
    await wait_until(lambda: first.said == [True, False])
    await asyncio.sleep(TTL_S)
    assert len([line for line in caplog.messages if "no lease" in line]) == 1
