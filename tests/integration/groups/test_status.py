"""Status queries and notifications, with real daemons and a real broker."""

import asyncio
import time

import pytest

LIMIT_BYTES = 4095


@pytest.fixture
async def pair(cloud):
    await cloud.start()
    members = [await cloud.guest("host-a"), await cloud.guest("host-b", base_version=2)]
    await cloud.group(ours=members)
    return members


async def test_a_query_is_answered_with_everybody_the_asker_too(cloud, pair):
    asker, other = pair
    asked_at = time.monotonic()
    asker.query(7)
    (done,) = await asker.wait_for("status_response_done")
    assert done.at - asked_at < 1.0
    answers = asker.of("status_response")
    assert asker.told[-1] is done
    assert {told.data["seq"] for told in [*answers, done]} == {7}
    states = {told.data["data"]["instance_id"]: told.data["data"]["state"] for told in answers}
    assert states == {asker.uuid: "active", other.uuid: "active"}
    assert other.told == []


async def test_hosts_are_hidden_unless_the_operator_shows_them(cloud):
    await cloud.start()
    members = [await cloud.guest(host) for host in ("host-a", "host-a", "host-b")]
    await cloud.group(ours=members)
    members[0].query(1)
    await members[0].wait_for("status_response_done")
    assert "host-" not in str([told.envelope for told in members[0].told])
    one, two, three = (told.data["data"]["host"] for told in members[0].of("status_response"))
    assert one == two != three
    assert len(one) == 56  # sha224, as Nova's hostId
    cloud.kill("controller")
    cloud.extra_group_settings = "show_hosts = true"
    await cloud.start_controller()
    for member, host in zip(members, ("host-a", "host-a", "host-b"), strict=True):
        await cloud.known(member, host)
    members[0].told.clear()

    async with asyncio.timeout(10):
        while not members[0].of("status_response"):
            members[0].query(2)
            await asyncio.sleep(0.3)
    shown = [told.data["data"]["host"] for told in members[0].of("status_response")]
    assert shown[:3] == ["host-a", "host-a", "host-b"]


async def test_a_guest_of_no_group_hears_of_itself_alone(cloud, pair):
    alone = await cloud.guest("host-a")
    alone.query(3)
    await alone.wait_for("status_response_done")
    (answer,) = alone.of("status_response")
    assert answer.data["data"]["instance_id"] == alone.uuid


async def test_a_newer_query_cancels_an_older_one(cloud, pair):
    asker, _ = pair
    asker.query(*range(5))
    await asker.wait_for("status_response_done")
    await asyncio.sleep(0.2)
    assert [told.data["seq"] for told in asker.of("status_response_done")] == [4]
    assert {told.data["seq"] for told in asker.of("status_response")} == {4}


async def test_each_application_is_answered_at_its_own_address(cloud, pair):
    asker, _ = pair
    for seq, address in enumerate(("app.one", "app.two")):
        asker.query(seq, source_addr=address)
    done = await asker.wait_for("status_response_done", 2)
    addressed = {told.envelope["dest_addr"]: told.data["seq"] for told in done}
    assert addressed == {"app.one": 0, "app.two": 1}
    assert {told.envelope["source_addr"] for told in asker.told} == {"cgcs.server_grp"}


async def test_peers_hear_of_a_death_and_of_a_recovery_in_their_version(cloud):
    await cloud.start()
    old = await cloud.guest("host-a", base_version=1)
    new = await cloud.guest("host-b", base_version=2)
    mortal = await cloud.guest("host-b")
    stranger = await cloud.guest("host-b")
    await cloud.group(ours=[old, new, mortal])
    new.query(1)  # the host opens with version 1 until it hears another one
    await new.wait_for("status_response_done")
    mortal.register()
    await cloud.until(lambda: mortal.challenges > 1)
    died_at = time.monotonic()
    await mortal.vanish(on_purpose=False)
    (to_old,) = await old.wait_for("notification")
    (to_new,) = await new.wait_for("notification")
    assert max(to_old.at, to_new.at) - died_at < 1.0
    assert to_old.data["data"]["instance_id"] == mortal.uuid
    assert to_old.data["data"]["state"] == "error"
    event = to_new.data["data"]
    assert set(event) == {"event_type", "priority", "timestamp", "payload"}
    assert event["priority"] == "ERROR" and event["payload"]["state"] == "error"
    assert "host-b" not in str(to_old.envelope) + str(to_new.envelope)

    mortal.path.unlink(missing_ok=True)
    await mortal.appear(cloud.ports("host-b"))
    mortal.register()
    recovered = (await old.wait_for("notification", 2))[-1]
    assert recovered.data["data"]["state"] == "active"
    await asyncio.sleep(0.3)
    states = [told.data["data"]["state"] for told in old.of("notification")]
    assert states[0] == "error" and states[-1] == "active"
    assert stranger.told == [] and mortal.of("notification") == []


async def test_a_restart_of_the_controller_is_no_news(cloud, pair):
    cloud.kill("controller")
    await cloud.start_controller()
    for member, host in zip(pair, ("host-a", "host-b"), strict=True):
        await cloud.known(member, host)
    await asyncio.sleep(1)
    assert all(not member.told for member in pair)


async def test_groups_at_rest_are_what_operators_see(cloud, pair):
    members = [
        {
            "uuid": guest.uuid,
            "name": guest.uuid,
            "host": host,
            "state": "active",
            "verdict": "unwatched",  # no heartbeat, yet
        }
        for guest, host in zip(pair, ("host-a", "host-b"), strict=True)
    ]
    group = {"id": "ours", "name": "ours", "members": members, "verdict": "unwatched"}
    assert cloud.get("/v1/groups") == {"groups": [group], "total": 1}
    assert cloud.get("/v1/groups/nobody") == {}


async def test_how_quickly_a_guest_answers_reaches_the_operator(cloud, pair):
    pair[0].register()
    path = f"/v1/instances/{pair[0].uuid}"
    async with asyncio.timeout(30):
        while not (shown := await asyncio.to_thread(cloud.get, path))["round_trips"]:
            await asyncio.sleep(0.2)
    assert all(0 < trip["ms"] < 10_000 for trip in shown["round_trips"])
    assert shown["instances"][0]["round_trip_ms"] == shown["round_trips"][-1]["ms"]
    assert shown["groups"] == ["ours"]
