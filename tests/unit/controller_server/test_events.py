"""Events reach whoever follows; whoever does not keep up is let go."""

import asyncio

import pytest
from msgspec import Struct

from reachthru.controller_server import events
from reachthru.controller_server.events import EventHub, FaultEvents, TooManyFollowersError


class Thing(Struct):
    number: int


async def test_every_follower_hears_everything_in_order():
    hub = EventHub()
    followers = [hub.follow(), hub.follow()]
    for number in range(3):
        hub.publish("thing", Thing(number))
    for follower in followers:
        heard = follower.events()
        assert [(await anext(heard)).data for _ in range(3)] == [
            '{"number":0}', '{"number":1}', '{"number":2}',
        ]  # fmt: skip


async def test_a_follower_that_does_not_keep_up_is_let_go_and_others_are_not(monkeypatch):
    monkeypatch.setattr(events, "QUEUE_LIMIT", 10)
    hub = EventHub()
    slow, quick = hub.follow(), hub.follow()
    heard = quick.events()
    for number in range(25):
        hub.publish("thing", Thing(number))
        assert (await anext(heard)).data == f'{{"number":{number}}}'
    assert slow.ended
    assert [event async for event in slow.events()] == []
    assert not quick.ended


async def test_silence_is_broken_by_a_sign_of_life(monkeypatch):
    monkeypatch.setattr(events, "KEEPALIVE_S", 0.01)
    assert await anext(EventHub().follow().events()) is None


async def test_followers_are_bounded(monkeypatch):
    monkeypatch.setattr(events, "FOLLOWERS_LIMIT", 2)
    hub = EventHub()
    first = hub.follow()
    hub.follow()
    with pytest.raises(TooManyFollowersError):
        hub.follow()
    hub.leave(first)
    hub.follow()


async def test_a_stop_ends_every_stream():
    hub = EventHub()
    follower = hub.follow()
    hub.publish("thing", Thing(1))
    hub.close()
    assert [event async for event in follower.events()] == []
    assert not hub.followed


async def test_fault_changes_are_published_as_rest_shows_them(ledger, arrived):
    hub = EventHub()
    fault_events = FaultEvents(hub, ledger)
    running = asyncio.create_task(fault_events.run())
    follower = hub.follow()
    stored = await ledger.add(
        [arrived(1, fault_id="f"), arrived(2, fault_id="f", status="cleared")]
    )
    fault_events.announce([item.change for item in stored])
    heard = follower.events()
    async with asyncio.timeout(10):
        told = [await anext(heard), await anext(heard)]
    running.cancel()
    assert [event.kind for event in told] == ["fault", "fault"]
    assert '"status":"raised"' in told[0].data
    assert '"status":"cleared"' in told[1].data


async def test_a_fault_that_is_let_go_is_published_again(ledger, arrived):
    hub = EventHub()
    fault_events = FaultEvents(hub, ledger)
    running = asyncio.create_task(fault_events.run())
    follower = hub.follow()
    await ledger.add([arrived(1, fault_id="f"), arrived(2, fault_id="g")])
    fault_events.announce([], ["f"])
    async with asyncio.timeout(10):
        told = await anext(follower.events())
    running.cancel()
    assert told.kind == "fault" and '"id":"f"' in told.data and '"status":"raised"' in told.data
    assert not follower.waiting


async def test_who_comes_back_in_time_is_told_what_it_has_missed():
    hub = EventHub()
    follower = hub.follow()
    hub.publish("thing", Thing(0))
    last_id = (await anext(follower.events())).id
    hub.leave(follower)
    for number in (1, 2):
        hub.publish("thing", Thing(number))
    heard = hub.follow(last_id).events()
    assert [(await anext(heard)).data for _ in range(2)] == ['{"number":1}', '{"number":2}']


async def test_who_comes_back_and_has_missed_nothing_is_told_nothing():
    hub = EventHub()
    hub.leave(hub.follow())
    assert not hub.follow(hub.last_id).waiting


@pytest.mark.parametrize("why", ["late", "too much", "another life", "closed", "garbage"])
async def test_who_missed_what_nobody_kept_must_read_anew(monkeypatch, why):
    monkeypatch.setattr(events, "KEPT_EVENTS", 3)
    now = [1000.0]
    hub = EventHub(lambda: now[0])
    follower = hub.follow()
    hub.publish("thing", Thing(0))
    last_id = (await anext(follower.events())).id
    hub.leave(follower)
    if why == "late":
        now[0] += events.KEPT_S + 1
    if why == "closed":
        hub.close()
    if why == "another life":
        hub = EventHub()
    for number in range(4 if why == "too much" else 1):
        hub.publish("thing", Thing(number))
    again = hub.follow("\n'" if why == "garbage" else last_id)
    told = await anext(again.events())
    assert told.kind == "resync"
    assert not again.waiting
    assert hub.follow(told.id).waiting is False  # from there on it may go on again
