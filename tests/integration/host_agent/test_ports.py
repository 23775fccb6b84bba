"""Ports come and go, early and late, with odd names and without permission."""

import asyncio
import shutil

from reachthru.protocol.faults import FaultKind, FaultStatus


async def test_a_hundred_restarts_of_a_guest_daemon_and_the_channel_always_comes_up(lab) -> None:
    players = await lab.play("--interval-ms", "1000")
    await lab.start()
    (uuid,) = players.uuids
    await lab.registered(uuid)
    for cycle in range(100):
        await players.do("exit" if cycle % 2 else "close", 0)
        before = (await players.summary())[0]["answers"]
        await players.do("open", 0)
        async with asyncio.timeout(5):
            while (await players.summary())[0]["answers"] == before:
                await asyncio.sleep(0.002)
    await lab.all_cleared()
    await lab.registered(uuid)


async def test_a_guest_that_boots_slowly_is_no_fault(lab) -> None:
    players = await lab.play("--no-init", "--interval-ms", "200")
    await lab.start()
    await asyncio.sleep(2.0)
    assert lab.told() == []
    await players.do("init", 0)
    await lab.registered(*players.uuids)
    await lab.quiet(0.5)


async def test_instances_that_appear_later_are_found_at_once(lab) -> None:
    await lab.start()
    first = await lab.play("--interval-ms", "200", seed=1, count=2)
    await lab.registered(*first.uuids, timeout_s=3.0)
    second = await lab.play("--interval-ms", "200", "--bare", seed=2, count=2)
    await lab.registered(*second.uuids, timeout_s=3.0)


async def test_files_that_are_no_ports_of_ours_have_no_effect(lab) -> None:
    for name in (
        "org.qemu.guest_agent.0.5f2c.sock",
        "cgcs.messaging.sock",
        "cgcs.messaging..sock",
        f"cgcs.messaging.{'x' * 65}.sock",
        "cgcs.messaging.a b.sock",
        "cgcs.messaging.5f2c.sock.tmp",
        "cgcs.messaging.stale.sock",  # a file that nobody listens on
        "notes.txt",
    ):
        (lab.ports / name).touch()
    await lab.start()
    await lab.quiet(0.7)
    assert set(lab.instances) == {"stale"}
    assert not lab.instances["stale"].registered


async def test_a_folder_that_is_missing_is_said_once_and_found_when_it_is_there(lab) -> None:
    lab.ports.rmdir()
    await lab.start()
    await asyncio.sleep(1.5)
    assert lab.agent.log.count("can't be watched") == 1
    lab.ports.mkdir()
    players = await lab.play("--interval-ms", "200")
    await lab.registered(*players.uuids)
    assert "can be read again" in lab.agent.log


async def test_a_folder_that_goes_away_takes_no_living_guest_along(lab) -> None:
    players = await lab.play("--interval-ms", "200")
    await lab.start()
    await lab.registered(*players.uuids)
    moved = lab.ports.with_name("moved")
    shutil.move(lab.ports, moved)
    await asyncio.sleep(0.5)
    shutil.move(moved, lab.ports)
    await lab.quiet(1.0)
    assert lab.instances[players.uuids[0]].registered


async def test_both_ports_of_one_instance_are_one_instance(lab) -> None:
    mux = await lab.play("--interval-ms", "200", seed=5)
    bare = await lab.play("--interval-ms", "200", "--bare", seed=5)
    assert mux.uuids == bare.uuids
    await lab.start()
    (uuid,) = mux.uuids
    await lab.registered(uuid)
    await mux.do("hang")
    await lab.fault(FaultKind.HEARTBEAT_LOST)
    await bare.do("leave")
    await lab.quiet(0.5, expected=1)
    await mux.do("leave")
    await lab.fault(FaultKind.HEARTBEAT_LOST, FaultStatus.CLEARED)
    await lab.left(uuid)
