"""What real Nova does to servers of a group is followed: at once, and told once."""

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from reachthru.controller_server.nova.cache import Cache
from reachthru.controller_server.nova.news import GroupNews, read

pytestmark = pytest.mark.xdist_group("nova")  # one Nova and one RabbitMQ for all

GOLDEN = Path(__file__).parents[2] / "golden/nova"
HOSTS = {"compute-0", "compute-1"}
QUIET_S = 0.6  # longer than a change without a name is held


async def told_within_a_second(running, recorder, until, server, word):
    """`word` was told of the server within 1 s of when another listener heard it from Nova."""
    await until(lambda: word in running.words(server))
    await until(lambda: recorder.at(word, server.id) is not None)
    told_at = max(at for at, change in running.told if change.event_type == word)
    delay_s = told_at - recorder.at(word, server.id)
    print(f"{word}: told {delay_s * 1000:.1f} ms after another listener heard it")
    assert delay_s < 1


async def test_servers_that_were_there_before_are_known_at_the_start(start, rabbit, nova):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)

    running = await start(rabbit.url, nova.url)

    member = running.member(server)
    assert (member.state, member.host) == ("active", server.compute_host)
    assert member.name == server.instance_name
    assert member.project_id == "a" * 32
    assert member.status["instance_type"] == "m1.tiny"
    assert running.directory.group(group.id).name == group.name
    assert running.told == []


async def test_a_new_server_joins_its_group(running, nova, recorder, until):
    group = await asyncio.to_thread(nova.group)
    await until(lambda: running.directory.group(group.id) is not None)
    assert running.directory.group(group.id).members == []

    server = await asyncio.to_thread(nova.server, group)
    stranger = await asyncio.to_thread(nova.server)

    await told_within_a_second(running, recorder, until, server, "compute.instance.create.end")
    assert running.is_in(server, state="active", host=server.compute_host)
    assert running.member(server).name == server.instance_name
    assert running.directory.group_of(stranger.id) is None
    await asyncio.sleep(QUIET_S)
    assert running.words(server) == ["compute.instance.create.end"]


async def test_every_change_of_state_is_told_once_and_within_a_second(
    running, nova, recorder, until
):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    compute = nova.compute()
    steps = [
        (compute.pause_server, "pause", "paused"),
        (compute.unpause_server, "unpause", "active"),
        (compute.suspend_server, "suspend", "suspended"),
        (compute.resume_server, "resume", "active"),
        (compute.stop_server, "power_off", "stopped"),
        (compute.start_server, "power_on", "active"),
        (lambda server: compute.reboot_server(server, "SOFT"), "reboot", "active"),
    ]
    for act, action, state in steps:
        await asyncio.to_thread(act, server)
        word = f"compute.instance.{action}.end"
        await told_within_a_second(running, recorder, until, server, word)
        assert running.is_in(server, state=state)
        await asyncio.to_thread(nova.settled, server, state)
    await asyncio.sleep(QUIET_S)
    assert running.words(server) == [
        "compute.instance.create.end",
        *(f"compute.instance.{action}.end" for _, action, _ in steps),
    ]


async def test_a_state_that_an_operator_sets_is_told_as_an_update(running, nova, until):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    await until(lambda: running.words(server))

    await asyncio.to_thread(nova.compute().reset_server_state, server, "error")

    await until(lambda: running.is_in(server, state="error"))
    await asyncio.sleep(QUIET_S)
    assert running.words(server)[1:] == ["compute.instance.update"]
    assert running.told[-1][1].member.state == "error"


async def test_a_live_migrated_server_is_on_its_new_host(running, nova, recorder, until):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    (target,) = HOSTS - {server.compute_host}

    await asyncio.to_thread(
        nova.compute().live_migrate_server, server, host=None, block_migration="auto"
    )

    word = "compute.instance.live_migration.post.dest.end"
    await told_within_a_second(running, recorder, until, server, word)
    assert running.is_in(server, host=target)
    # The source still speaks of itself as the host, after the destination's end.
    await until(lambda: recorder.at("instance.live_migration_post.end", server.id) is not None)
    await asyncio.sleep(QUIET_S)
    assert running.is_in(server, host=target, state="active")
    assert running.words(server)[1:] == [word]


async def test_a_resized_server_has_its_new_size_and_host(running, nova, until):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)

    await asyncio.to_thread(nova.compute().resize_server, server, "2")
    await asyncio.to_thread(nova.settled, server, "resized")
    await asyncio.to_thread(nova.compute().confirm_server_resize, server)
    await until(lambda: "compute.instance.resize.confirm.end" in running.words(server))

    server = await asyncio.to_thread(nova.settled, server, "active")
    assert running.is_in(server, state="active", host=server.compute_host)
    assert running.member(server).status["instance_type"] == "m1.small"
    await asyncio.sleep(QUIET_S)
    assert running.words(server)[1:] == [
        "compute.instance.resize.end",
        "compute.instance.finish_resize.end",
        "compute.instance.resize.confirm.end",
    ]


async def test_an_evacuated_server_is_on_its_new_host(running, nova, until):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    source = server.compute_host
    (target,) = HOSTS - {source}

    await asyncio.to_thread(nova.force_down, source, True)
    try:
        await asyncio.to_thread(nova.compute().evacuate_server, server)
        await until(lambda: running.is_in(server, host=target))
        await asyncio.to_thread(nova.settled, server, "active")
    finally:
        await asyncio.to_thread(nova.restart, source)  # it finds that its instance has left
        await asyncio.to_thread(nova.force_down, source, False)

    await asyncio.sleep(QUIET_S)
    assert running.is_in(server, host=target, state="active")
    words = running.words(server)[1:]
    assert words[-1] == "compute.instance.rebuild.end"
    assert len(words) == len(set(words))


async def test_a_deleted_server_leaves_no_ghost(running, nova, recorder, until):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    other = await asyncio.to_thread(nova.server, group)
    await until(lambda: running.member(server) and running.member(other))

    await asyncio.to_thread(nova.compute().delete_server, server)

    await told_within_a_second(running, recorder, until, server, "compute.instance.delete.end")
    assert running.told[-1][1].member.state == "deleted"
    assert running.directory.group_of(server.id) is None
    # The group's next notification still lists the deleted server among its members.
    third = await asyncio.to_thread(nova.server, group)
    await until(lambda: running.is_in(third, state="active"))
    await asyncio.sleep(QUIET_S)
    members = running.directory.group(group.id).members
    assert {member.uuid for member in members} == {other.id, third.id}
    assert running.words(server).count("compute.instance.delete.end") == 1


async def test_a_deleted_group_is_forgotten(running, nova, until):
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    await until(lambda: running.member(server))

    await asyncio.to_thread(nova.compute().delete_server_group, group)

    await until(lambda: running.directory.group(group.id) is None)
    assert running.directory.group_of(server.id) is None


def record(notifications):
    """The golden file of the unit tests: without what is never read of a notification."""
    kept = "message_id publisher_id event_type priority payload timestamp _context_request_id"
    lines = [
        json.dumps({key: notification[key] for key in kept.split()})
        for notification in notifications
        if "create" in notification["event_type"]
        or not notification["event_type"].endswith(".start")
    ]
    (GOLDEN / "life.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
async def life(nova, recorder, until):
    """The real notifications of a group's life, in order: pauses, a migration, a deletion."""
    group = await asyncio.to_thread(nova.group)
    server = await asyncio.to_thread(nova.server, group)
    doomed = await asyncio.to_thread(nova.server, group)
    compute = nova.compute()
    for act, state in (
        (compute.pause_server, "paused"),
        (compute.unpause_server, "active"),
        (compute.stop_server, "stopped"),
        (compute.start_server, "active"),
        (lambda server: compute.live_migrate_server(server, None, False, "auto"), "active"),
        (compute.pause_server, "paused"),
    ):
        await asyncio.to_thread(act, server)
        await asyncio.to_thread(nova.settled, server, state)
    await asyncio.to_thread(compute.delete_server, doomed)
    await until(lambda: recorder.at("instance.delete.end", doomed.id) is not None)
    await asyncio.sleep(QUIET_S)
    ids = (group.id, server.id, doomed.id)
    heard = [
        {key: value for key, value in notification.items() if key != "at"}
        for notification in recorder.heard
        if any(known in json.dumps(notification["payload"]) for known in ids)
    ]
    if os.environ.get("REACHTHRU_RECORD"):
        record(heard)
    return heard


def known_after(notifications):
    cache = Cache()
    for now, notification in enumerate(notifications):
        news = read(
            {"request_id": notification["_context_request_id"]},
            notification["event_type"],
            notification["payload"],
            notification["timestamp"],
            notification["priority"],
        )
        if isinstance(news, GroupNews):
            cache.hear_group(news, float(now))
        elif news is not None:
            cache.hear_instance(news, float(now))
    return cache.groups()


async def test_real_notifications_end_alike_in_any_order_and_doubled(life):
    expected = known_after(life)
    assert [member.state for member in expected[0].members] == ["paused"]
    seed = random.randrange(2**32)
    print(f"seed {seed}, {len(life)} notifications")
    dice = random.Random(seed)
    for _ in range(20):
        shuffled = [*life, *dice.sample(life, len(life) // 3)]
        dice.shuffle(shuffled)
        assert known_after(shuffled) == expected
