"""What Nova depends on, and what we depend on, comes and goes."""

import asyncio
import logging
from urllib.parse import urlsplit

import kombu
import pytest

pytestmark = pytest.mark.xdist_group("nova")  # one Nova and one RabbitMQ for all


def delete_queue(rabbit, pool):
    """What a broker does to a queue that isn't durable when it restarts."""
    with kombu.Connection(f"amqp://guest:guest@127.0.0.1:{rabbit.port}//") as connection:
        connection.channel().queue_delete(f"{pool}.info")


async def test_what_happened_while_the_bus_was_lost_is_read_from_the_api(
    start, proxy, nova, until, caplog
):
    caplog.set_level(logging.INFO, logger="reachthru")
    group = await asyncio.to_thread(nova.group)
    paused = await asyncio.to_thread(nova.server, group)
    deleted = await asyncio.to_thread(nova.server, group)
    door = await proxy(nova.rabbit.port)
    running = await start(
        f"rabbit://guest:guest@127.0.0.1:{door.port}/", nova.url, notifications_pool="reachthru-cut"
    )

    await door.cut()
    await until(lambda: running.directory.stale)
    delete_queue(nova.rabbit, "reachthru-cut")
    await asyncio.to_thread(nova.compute().pause_server, paused)
    await asyncio.to_thread(nova.settled, paused, "paused")
    await asyncio.to_thread(nova.compute().delete_server, deleted)
    await asyncio.to_thread(nova.compute().wait_for_delete, deleted)
    new = await asyncio.to_thread(nova.server, group)
    assert running.is_in(paused, state="active")  # from the cache
    assert running.told == []
    await door.open()

    await until(lambda: not running.directory.stale)
    await until(lambda: running.is_in(paused, state="paused") and running.member(new))
    await until(lambda: running.member(deleted) is None)
    await until(lambda: len(running.told) == 2)
    assert running.words(paused) == ["compute.instance.update"]
    assert running.words(deleted) == ["compute.instance.delete.end"]
    # And what comes now is heard again.
    await asyncio.to_thread(nova.compute().unpause_server, paused)
    await until(lambda: running.words(paused)[1:] == ["compute.instance.unpause.end"])
    said = [record.message for record in caplog.records]
    assert sum("are not heard" in message for message in said) == 1


async def test_a_restarted_broker_is_used_again(start, nova, until):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    running = await start(nova.rabbit.url, nova.url)

    await asyncio.to_thread(nova.rabbit.stop)
    await until(lambda: running.directory.stale)
    await asyncio.to_thread(nova.rabbit.start)

    await until(lambda: not running.directory.stale)
    await asyncio.to_thread(nova.compute().pause_server, server)
    await until(lambda: running.words(server) == ["compute.instance.pause.end"])


async def test_while_the_api_is_away_answers_are_stale_and_come_from_the_cache(
    start, proxy, nova, until, caplog
):
    caplog.set_level(logging.INFO, logger="reachthru")
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    door = await proxy(urlsplit(nova.url).port)
    running = await start(
        nova.rabbit.url, f"http://127.0.0.1:{door.port}/v2.1", snapshot_interval_s="1"
    )

    await door.cut()

    await until(lambda: running.directory.stale)
    await asyncio.to_thread(nova.compute().pause_server, server)
    await until(lambda: running.is_in(server, state="paused"))  # notifications go on
    await door.open()
    await until(lambda: not running.directory.stale)
    lost = [r.message for r in caplog.records if "API can't be asked" in r.message]
    assert len(lost) == 1


async def test_a_directory_starts_while_neither_bus_nor_api_is_there(start, proxy, nova, until):
    bus = await proxy(nova.rabbit.port)
    api = await proxy(urlsplit(nova.url).port)
    await bus.cut()
    await api.cut()
    starting = asyncio.create_task(
        start(f"rabbit://guest:guest@127.0.0.1:{bus.port}/", f"http://127.0.0.1:{api.port}/v2.1")
    )
    group = await asyncio.to_thread(nova.group)

    await bus.open()
    await api.open()

    running = await starting
    await until(lambda: running.directory.group(group.id) is not None)
