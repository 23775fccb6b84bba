"""The cache of groups: plain news in, changes out, time as an argument."""

import json
import random
from pathlib import Path

import pytest

from reachthru.controller_server.nova.cache import (
    GRAVES_LIMIT,
    HOLD_S,
    STRANGERS_LIMIT,
    Cache,
    GroupListing,
    Server,
    Snapshot,
)
from reachthru.controller_server.nova.news import GroupNews, InstanceNews, read

LIFE = Path(__file__).parents[3] / "golden/nova/life.jsonl"
PAUSE = "compute.instance.pause.end"
UNPAUSE = "compute.instance.unpause.end"
UPDATE = "compute.instance.update"
DELETE = "compute.instance.delete.end"


def stamp(second):
    return f"2026-01-01T00:00:{second:09.6f}+00:00"


def news(word, state, at, *, uuid="vm", request="req-1", form="versioned", **status):
    return InstanceNews(
        uuid=uuid,
        word=word,
        form=form,
        stamp=stamp(at),
        request_id=request,
        priority="INFO",
        status={"instance_id": uuid, "state": state, "host": "compute-0", **status},
    )


def group_news(what="add_member", members=("vm",)):
    return GroupNews(group_id="group", what=what, name="g", members=members)


def server(uuid="vm", state="active", host="compute-0", updated=0.0):
    return Server(
        uuid=uuid,
        name=f"instance-{uuid}",
        status={"instance_id": uuid, "state": state, "host": host},
        updated=stamp(updated),
    )


def snapshot(*servers):
    members = [found.uuid for found in servers]
    groups = [GroupListing(id="group", name="g", members=members)]
    return Snapshot(groups=groups, servers={found.uuid: found for found in servers})


@pytest.fixture
def cache():
    """One group with one active member, "vm", that the API showed at 0.0."""
    cache = Cache()
    cache.see_all(snapshot(server()), begun_at=0.0, now=0.0)
    return cache


def told(cache):
    return [(change.event_type, change.member.state) for change in cache.take_changes()]


def member(cache, uuid="vm"):
    (found,) = [found for found in cache.group("group").members if found.uuid == uuid]
    return found


def test_what_was_there_at_the_start_is_known_and_not_told(cache):
    assert member(cache).name == "instance-vm"
    assert cache.group_of("vm").name == "g"
    assert told(cache) == []


def test_one_change_of_state_is_told_once_though_four_notifications_tell_of_it(cache):
    cache.hear_instance(news(UPDATE, "paused", 1.00, form="legacy"), 1.0)
    cache.hear_instance(news(UPDATE, "paused", 1.01), 1.01)
    cache.hear_instance(news(PAUSE, "paused", 1.02, form="legacy"), 1.02)
    cache.hear_instance(news(PAUSE, "paused", 1.03), 1.03)
    cache.wake(1.0 + 2 * HOLD_S)

    assert told(cache) == [(PAUSE, "paused")]
    assert cache.deadline() is None


def test_a_change_that_nothing_names_is_told_as_an_update_after_a_moment(cache):
    cache.hear_instance(news(UPDATE, "error", 1.0), 10.0)
    assert told(cache) == []
    assert member(cache).state == "error"  # who asks is told at once
    assert cache.deadline() == 10.0 + HOLD_S

    cache.wake(10.0 + HOLD_S)

    assert told(cache) == [(UPDATE, "error")]


def test_an_end_that_comes_after_its_update_was_told_is_not_told_again(cache):
    cache.hear_instance(news(UPDATE, "paused", 1.0), 1.0)
    cache.wake(1.0 + HOLD_S)
    assert told(cache) == [(UPDATE, "paused")]

    cache.hear_instance(news(PAUSE, "paused", 1.5), 1.5)

    assert told(cache) == []


def test_a_change_that_is_undone_within_the_moment_is_not_told(cache):
    cache.hear_instance(news(UPDATE, "paused", 1.0), 1.0)
    cache.hear_instance(news(UPDATE, "active", 1.1), 1.1)
    cache.wake(9.0)

    assert told(cache) == []


def test_an_action_that_leaves_the_state_alone_is_told_once_each_time(cache):
    reboot = "compute.instance.reboot.end"
    for second, request in ((1.0, "req-1"), (2.0, "req-2")):
        cache.hear_instance(news(reboot, "active", second, request=request, form="legacy"), second)
        cache.hear_instance(news(reboot, "active", second + 0.1, request=request), second + 0.1)

    assert told(cache) == [(reboot, "active")] * 2


def test_an_older_notification_doesnt_undo_a_newer_one(cache):
    cache.hear_instance(news(UNPAUSE, "active", 2.0, request="req-2"), 2.0)
    cache.hear_instance(news(PAUSE, "paused", 1.0), 2.1)
    cache.wake(9.0)

    assert member(cache).state == "active"
    assert told(cache) == [(UNPAUSE, "active")]


def test_a_form_that_knows_less_doesnt_take_away_what_the_other_knows(cache):
    cache.hear_instance(news(PAUSE, "paused", 1.0, form="legacy", image_meta={"a": "b"}), 1.0)
    cache.hear_instance(news(PAUSE, "paused", 1.1, form="versioned"), 1.1)

    assert member(cache).status["image_meta"] == {"a": "b"}


def test_a_deleted_member_leaves_and_nothing_late_brings_it_back(cache):
    cache.hear_instance(news(DELETE, "deleted", 2.0), 2.0)
    cache.hear_instance(news(DELETE, "deleted", 2.1, form="legacy"), 2.1)
    cache.hear_instance(news(PAUSE, "paused", 1.0), 2.2)
    cache.hear_group(group_news(), 2.3)
    cache.see_all(snapshot(server()), begun_at=1.9, now=2.4)

    assert cache.group_of("vm") is None
    assert cache.group("group").members == []
    assert told(cache) == [(DELETE, "deleted")]


def test_a_deletion_that_only_an_update_tells_is_a_deletion(cache):
    cache.hear_instance(news(UPDATE, "deleted", 1.0), 1.0)
    assert cache.group_of("vm") is None

    cache.wake(1.0 + HOLD_S)
    cache.hear_instance(news(DELETE, "deleted", 1.5), 1.5)

    assert told(cache) == [(DELETE, "deleted")]


def test_a_member_of_which_nothing_is_known_is_a_doubt_and_not_shown(cache):
    cache.take_doubts()
    cache.hear_group(group_news(members=["vm", "new"]), 1.0)

    assert cache.take_doubts() == ["new"]
    assert cache.group_of("new") is None
    assert [found.uuid for found in cache.group("group").members] == ["vm"]

    cache.see_missing("new", begun_at=2.0, seen_at=stamp(2.0))
    assert told(cache) == []  # it was never shown


def test_news_of_an_instance_may_come_before_its_membership(cache):
    cache.hear_instance(news(UPDATE, "active", 1.0, uuid="new"), 1.0)
    cache.hear_group(group_news(members=["new"]), 1.1)

    assert member(cache, "new").state == "active"


def test_what_was_lost_is_told_when_a_snapshot_shows_it(cache):
    cache.see_all(snapshot(server(state="paused", updated=5.0)), begun_at=60.0, now=60.5)
    cache.wake(60.5 + HOLD_S)

    assert told(cache) == [(UPDATE, "paused")]


def test_a_snapshot_counts_even_if_a_clock_says_that_it_is_older(cache):
    cache.hear_instance(news(PAUSE, "paused", 30.0), 1.0)

    cache.see_all(snapshot(server(state="active", updated=20.0)), begun_at=60.0, now=60.5)

    assert member(cache).state == "active"


def test_what_is_heard_while_a_snapshot_is_taken_counts_more(cache):
    cache.hear_instance(news(PAUSE, "paused", 1.0), 60.2)
    cache.see_all(snapshot(server(state="active", updated=0.0)), begun_at=60.0, now=60.5)

    assert member(cache).state == "paused"


def test_a_member_that_a_snapshot_doesnt_list_is_asked_for_before_it_is_buried(cache):
    cache.see_all(snapshot(), begun_at=60.0, now=60.5)
    assert member(cache).state == "active"  # a cell's database may be down
    assert cache.take_doubts() == ["vm"]

    cache.see_missing("vm", begun_at=61.0, seen_at=stamp(9.0))

    assert cache.group("group").members == []
    assert told(cache) == [(DELETE, "deleted")]


def test_a_group_that_is_newer_than_the_snapshot_stays(cache):
    fresh = GroupNews(group_id="fresh", what="create", name="f", members=[])
    cache.hear_group(fresh, 60.2)
    cache.see_all(snapshot(server()), begun_at=60.0, now=60.5)
    assert cache.group("fresh") is not None

    cache.see_all(snapshot(server()), begun_at=120.0, now=120.5)
    assert cache.group("fresh") is None


def test_a_deleted_group_is_forgotten_and_nothing_late_brings_it_back(cache):
    cache.hear_group(group_news("delete"), 1.0)
    cache.hear_group(group_news("create"), 1.1)
    cache.hear_group(group_news(), 1.2)

    assert cache.groups() == []
    assert cache.group_of("vm") is None


def test_instances_of_no_group_and_graves_are_kept_within_bounds(cache):
    for number in range(STRANGERS_LIMIT * 2):
        cache.hear_instance(news(UPDATE, "active", 1.0, uuid=f"stranger-{number}"), 1.0)
    cache.hear_group(group_news(members=["stranger-0", f"stranger-{2 * STRANGERS_LIMIT - 1}"]), 2)
    shown = {found.uuid for found in cache.group("group").members}
    assert shown == {"vm", f"stranger-{2 * STRANGERS_LIMIT - 1}"}

    for number in range(GRAVES_LIMIT + 1):
        cache.hear_instance(news(DELETE, "deleted", 1.0, uuid=f"dead-{number}"), 1.0)
    cache.hear_group(group_news(members=["dead-0"]), 3.0)
    assert "dead-0" in cache.take_doubts()  # forgotten: the API is asked, and it stays unseen
    assert cache.group_of("dead-0") is None


def replay(cache, notifications):
    for now, sent in enumerate(notifications):
        context = {"request_id": sent["_context_request_id"]}
        heard = read(
            context, sent["event_type"], sent["payload"], sent["timestamp"], sent["priority"]
        )
        if isinstance(heard, GroupNews):
            cache.hear_group(heard, now / 1000)
        elif heard is not None:
            cache.hear_instance(heard, now / 1000)


@pytest.fixture
def life():
    return [json.loads(line) for line in LIFE.read_text().splitlines()]


def test_a_recorded_life_is_told_in_novas_legacy_words(life):
    cache = Cache()
    replay(cache, life)
    (group,) = cache.groups()
    survivor = group.members[0].uuid

    changes = cache.take_changes()

    assert [c.event_type for c in changes if c.member.uuid == survivor] == [
        "compute.instance.create.end",
        "compute.instance.pause.end",
        "compute.instance.unpause.end",
        "compute.instance.power_off.end",
        "compute.instance.power_on.end",
        "compute.instance.live_migration.post.dest.end",
        "compute.instance.pause.end",
    ]
    assert [c.event_type for c in changes if c.member.uuid != survivor] == [
        "compute.instance.create.end",
        "compute.instance.shutdown.end",
        "compute.instance.delete.end",
    ]


def test_the_sources_late_word_of_a_migration_doesnt_move_the_member_back(life):
    moved = [n for n in life if n["event_type"] == "instance.live_migration_post_dest.end"]
    late = [n for n in life if n["event_type"] == "instance.live_migration_post.end"]
    host = moved[0]["payload"]["nova_object.data"]["host"]
    assert late[0]["timestamp"] > moved[0]["timestamp"]
    assert late[0]["payload"]["nova_object.data"]["host"] != host
    cache = Cache()

    replay(cache, life)

    assert cache.groups()[0].members[0].host == host


@pytest.mark.parametrize("form", ["instance.", "compute."])
def test_either_form_alone_tells_the_same(life, form):
    of_form = [n for n in life if n["event_type"].startswith(form)]
    groups = [n for n in life if n["event_type"].startswith(("servergroup", "server_group"))]
    both, alone = Cache(), Cache()
    replay(both, life)
    replay(alone, sorted(groups + of_form, key=lambda n: n["timestamp"]))

    def words(cache):
        return [(change.member.uuid, change.event_type) for change in cache.take_changes()]

    assert words(alone) == words(both)


def test_any_order_and_doubles_end_alike(life):
    expected = Cache()
    replay(expected, life)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(30):
        shuffled = [*life, *dice.sample(life, 30)]
        dice.shuffle(shuffled)
        cache = Cache()
        replay(cache, shuffled)
        assert cache.groups() == expected.groups()
