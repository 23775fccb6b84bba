"""Broadcasts between guests on two hosts, with real daemons and a real broker."""

import asyncio
import signal
import time

import pytest

# What JSON allows in a string, escaped, except what a broadcast may not hold.
CONTROLS = "".join(chr(code) for code in range(1, 32) if chr(code) != "\n") + "\x7f"
SCRIPTS = 'Grüße 你好 Привет مرحبا שלום नमस्ते ไทย 한국어 🚑 é "quoted" \\ back/slash '


@pytest.fixture
async def trio(cloud):
    """A group of three, two of them on one host, and an outsider beside them."""
    await cloud.start()
    members = [await cloud.guest(host) for host in ("host-a", "host-b", "host-b")]
    outsider = await cloud.guest("host-b")
    await cloud.group(ours=members)
    return *members, outsider


async def test_the_largest_broadcast_reaches_all_others_byte_for_byte_and_nobody_else(cloud, trio):
    sender, *others, _outsider = trio
    text = "é" * 500 + "\t" + "x" * 2049
    assert len(text.encode()) == 3050
    sender.broadcast(text)
    for other in others:
        (told,) = await other.wait_for("broadcast")
        assert told.data["data"] == text
        assert told.envelope["source_addr"] == told.envelope["dest_addr"] == "cgcs.server_grp"
        assert told.data["source_instance"]
    await asyncio.sleep(0.2)
    assert [len(guest.told) for guest in trio] == [0, 1, 1, 0]


async def test_one_byte_more_is_refused_and_reaches_nobody(cloud, trio):
    sender, *others = trio
    sender.broadcast("é" + "x" * 3049)
    (nack,) = await sender.wait_for("nack")
    assert nack.data["orig_msg_type"] == "broadcast"
    assert "3051" in nack.data["log_msg"] and "3050" in nack.data["log_msg"]
    for wrong in ("two\nlines", "a\0b"):
        sender.broadcast(wrong)
    await sender.wait_for("nack", 3)
    sender.broadcast("right")
    for other in others[:2]:  # on two hosts: neither waits for the other one
        await other.wait_for("broadcast")
        assert other.texts() == ["right"]


@pytest.mark.parametrize("text", [SCRIPTS, CONTROLS, "", " ", CONTROLS * 90])
async def test_texts_arrive_as_they_were_sent(cloud, trio, text):
    sender, *others, _outsider = trio
    sender.broadcast(text)
    for other in others:
        await other.wait_for("broadcast")
        assert other.texts() == [text]


async def test_a_guest_of_no_group_is_told_so(cloud, trio):
    *members, outsider = trio
    outsider.broadcast("anybody?")
    (nack,) = await outsider.wait_for("nack")
    assert nack.data == {
        "msg_type": "nack",
        "orig_msg_type": "broadcast",
        "log_msg": "not a member of any server group",
    }
    assert not any(member.told for member in members)


async def test_forged_claims_change_nothing(cloud):
    await cloud.start()
    mine = [await cloud.guest(host) for host in ("host-a", "host-b")]
    theirs = [await cloud.guest(host) for host in ("host-a", "host-b")]
    await cloud.group(mine=mine, theirs=theirs)
    liar, peer = mine
    claims = {"source_instance": theirs[0].uuid, "group": "theirs", "recipients": [theirs[1].uuid]}
    liar.broadcast("as somebody else", **claims)
    liar.send({"msg_type": "broadcast", "data": "elsewhere"}, source_addr="cgcs.heartbeat")
    liar.send({"msg_type": "broadcast", "data": "nowhere"}, dest_addr=f"theirs.{theirs[1].uuid}")
    liar.send(
        {"msg_type": "broadcast", "data": "by hand", "group_id": "theirs"}, instance=theirs[0].uuid
    )
    await peer.wait_for("broadcast", 3)
    assert peer.texts() == ["as somebody else", "elsewhere", "by hand"]
    assert {told.data["source_instance"] for told in peer.told} == {liar.uuid}
    await asyncio.sleep(0.2)
    assert theirs[0].told == theirs[1].told == []
    # What only hosts say is nobody's business when a guest says it.
    liar.send({"msg_type": "notification", "data": {"instance_id": peer.uuid, "state": "error"}})
    liar.send({"msg_type": "status_response", "seq": 1, "data": {}})
    await asyncio.sleep(0.2)
    assert len(peer.told) == 3 and theirs[0].told == theirs[1].told == []


async def test_one_senders_messages_keep_their_order(cloud, trio):
    sender, other_host, same_host, _ = trio
    for number in range(40):  # all at once: the burst that a guest is allowed
        sender.broadcast(f"{number}".ljust(1 + 97 * number % 3000, "."))
    for receiver in (other_host, same_host):
        await receiver.wait_for("broadcast", 40)
        assert [int(text.rstrip(".")) for text in receiver.texts()] == list(range(40))


async def test_with_no_controller_the_guest_is_told_within_a_second(cloud, trio):
    sender, other, *_ = trio
    cloud.signal("controller", signal.SIGSTOP)  # it hangs, and so does its broker
    asked_at = time.monotonic()
    sender.broadcast("hello?")
    sender.query(1)
    nacks = await sender.wait_for("nack", 2, 1.5)
    assert all(nack.at - asked_at <= 1.0 for nack in nacks)
    assert {nack.data["orig_msg_type"] for nack in nacks} == {"broadcast", "status_query"}
    assert {nack.data["log_msg"] for nack in nacks} == {"controller unavailable"}
    cloud.signal("controller", signal.SIGCONT)
    cloud.kill("controller")
    await asyncio.sleep(0.3)
    asked_at = time.monotonic()
    sender.broadcast("still nobody?")
    nack = (await sender.wait_for("nack", 3))[-1]
    assert nack.at - asked_at < 0.1
    other.told.clear()
    await cloud.start_controller()
    await cloud.known(sender, "host-a")

    async def is_heard():
        sender.broadcast("back")
        await asyncio.sleep(0.3)
        return "back" in other.texts()

    async with asyncio.timeout(10):
        while not await is_heard():
            pass


async def test_a_member_is_followed_to_its_new_host(cloud, trio):
    sender, mover, stayer, _ = trio
    sender.broadcast("1")
    await mover.wait_for("broadcast")
    await mover.vanish()
    await mover.appear(cloud.ports("host-a"))
    await cloud.known(mover, "host-a")
    sender.broadcast("2")
    mover.broadcast("from the new place")
    await mover.wait_for("broadcast", 2)
    await stayer.wait_for("broadcast", 3)
    await sender.wait_for("broadcast")
    assert mover.texts() == ["1", "2"]
    assert sender.texts() == ["from the new place"]
    hosts = {
        member["uuid"]: member["host"]
        for group in cloud.get("/v1/groups/ours")["groups"]
        for member in group["members"]
    }
    assert hosts[mover.uuid] == "host-a"


async def test_a_member_that_joins_or_leaves_the_group_is_followed(cloud, trio):
    sender, leaver, stayer, joiner = trio
    await cloud.group(ours=[sender, stayer, joiner])
    sender.broadcast("new group")
    await stayer.wait_for("broadcast")
    await joiner.wait_for("broadcast")
    leaver.broadcast("am I out?")
    await leaver.wait_for("nack")
    assert leaver.texts() == [] and sender.texts() == []


async def test_a_listener_that_was_away_hears_no_stale_burst(cloud, trio):
    sender, away, present, _ = trio
    away.deafen()
    sent_at = {}
    for number in range(100):
        sent_at[str(number)] = time.monotonic()
        sender.broadcast(str(number))
        await asyncio.sleep(0.06)
    back_at = time.monotonic()
    away.hear()
    await present.wait_for("broadcast", 100)
    await asyncio.sleep(0.3)
    # What was in the port already when it stopped reading can't be taken back: one message.
    first, *heard = away.texts()
    assert first == "0"
    assert heard == [str(number) for number in range(100)][-len(heard) :]
    assert 10 < len(heard) <= 64
    assert all(back_at - sent_at[text] <= 2.0 + 0.2 for text in heard)
    await cloud.until(lambda: cloud.metric("reachthru_group_agent_losses") >= 100 - 1 - len(heard))


async def test_a_short_absence_loses_nothing(cloud, trio):
    sender, away, *_ = trio
    away.deafen()
    for number in range(20):
        sender.broadcast(str(number))
    await asyncio.sleep(0.5)
    away.hear()
    await away.wait_for("broadcast", 20)
    assert away.texts() == [str(number) for number in range(20)]


async def test_a_flooding_guest_is_held_back_and_others_are_not(cloud, trio):
    flooder, listener, talker, _ = trio
    for guest in (flooder, listener, talker):
        guest.register()
    for number in range(3000):
        flooder.broadcast(f"flood {number}")
        if number % 100 == 0:
            talker.broadcast(f"calm {number // 100}")
            await asyncio.sleep(0.06)
    await listener.wait_for("broadcast", 30)

    def calm(guest):
        return [text for text in guest.texts() if text.startswith("calm")]

    async with asyncio.timeout(3):
        while len(calm(listener)) < 30 or len(calm(flooder)) < 30:
            await asyncio.sleep(0.02)
    assert calm(listener) == [f"calm {number}" for number in range(30)]
    floods = len(listener.texts()) - 30
    assert floods <= 40 + 20 * 4
    nacks = flooder.of("nack")
    assert nacks and "20 messages a second" in nacks[0].data["log_msg"]
    assert len(nacks) <= 10
    assert cloud.get("/v1/faults?active=true")["faults"] == []
    await cloud.until(
        lambda: (
            cloud.metric(
                f'reachthru_group_agent_losses{{host="host-a",reason="flood",sender="{flooder.uuid}"}}'
            )
            + cloud.metric(
                f'reachthru_group_agent_losses{{host="host-a",reason="rate",sender="{flooder.uuid}"}}'
            )
            >= 3000 - floods
        )
    )


async def test_a_guest_that_speaks_at_once_is_heard(cloud, trio):
    """Its host has not even told the controller of it."""
    sender, other, _, _ = trio
    await sender.vanish()
    await sender.appear(cloud.ports("host-b"))
    sender.broadcast("just born")
    await other.wait_for("broadcast")
