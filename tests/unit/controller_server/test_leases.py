"""One owner at a time, on either database."""

import asyncio

import pytest

from reachthru.controller_server.store import clock, leases
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.leases import give_back, take

TTL_S = 3.0


@pytest.fixture
def clock_s(monkeypatch):
    """A list whose last item is the database's time."""
    now = [1_000_000.0]
    monkeypatch.setattr(leases, "now_s", lambda _connection: now[-1])
    return now


def taking(database, owner):
    return database.write(lambda c: take(c, "leader", owner, TTL_S))


async def test_a_lease_has_one_owner_who_renews_it(database, clock_s):
    assert await taking(database, "a")
    assert not await taking(database, "b")
    for _ in range(5):
        clock_s.append(clock_s[-1] + 1)
        assert await taking(database, "a")
        assert not await taking(database, "b")


async def test_a_lease_that_ran_out_is_anyones(database, clock_s):
    assert await taking(database, "a")
    clock_s.append(clock_s[-1] + TTL_S + 0.1)
    assert await taking(database, "b")
    assert not await taking(database, "a")


async def test_a_lease_that_is_given_back_is_free_at_once(database, clock_s):
    assert await taking(database, "a")
    await database.write(lambda c: give_back(c, "leader", "b"))  # it is not b's to give
    assert not await taking(database, "b")
    await database.write(lambda c: give_back(c, "leader", "a"))
    assert await taking(database, "b")


async def test_a_clock_that_was_set_back_holds_nobody_up(database, clock_s):
    assert await taking(database, "a")
    clock_s.append(clock_s[-1] - 3600)
    assert await taking(database, "b")


async def test_of_many_who_try_at_once_one_gets_it(database_url, database):
    others = [Database(database_url) for _ in range(5)]
    for other in others:
        await other.open()
    got = await asyncio.gather(
        *(taking(other, f"c{number}") for number, other in enumerate(others))
    )
    assert sum(got) == 1
    for other in others:
        await other.close()


async def test_postgresqls_clock_decides_there(postgresql_url, monkeypatch):
    monkeypatch.setattr(clock.time, "time", lambda: 0.0)
    database = Database(postgresql_url)
    await database.open()
    assert await database.read(clock.now_s) > 1_700_000_000
    await database.close()
