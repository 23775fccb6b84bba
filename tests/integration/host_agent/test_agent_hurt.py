"""The host agent itself is stopped, starved, killed, or cut off from its controllers."""

import asyncio
import signal
import socket

from reachthru.protocol.faults import FaultKind, FaultStatus

RAISED, CLEARED = FaultStatus.RAISED, FaultStatus.CLEARED


async def test_an_agent_that_was_stopped_blames_nobody_and_says_so(lab) -> None:
    players = await lab.play("--interval-ms", "200", "--delay-ms", "20", count=20)
    await lab.start()
    await lab.registered(*players.uuids)
    for _ in range(2):
        lab.agent.signal(signal.SIGSTOP)
        await asyncio.sleep(2.5)
        lab.agent.signal(signal.SIGCONT)
        await asyncio.sleep(0.7)
    await lab.quiet(6.0)  # a report's period
    assert max(report.lateness_ms for report in lab.reports) > 2000
    assert "stopped or starved" in lab.agent.log


async def test_an_agent_that_is_starved_blames_nobody_and_still_finds_who_hangs(lab) -> None:
    players = await lab.play("--interval-ms", "300", "--delay-ms", "20", count=10)
    await lab.start()
    await lab.registered(*players.uuids)
    await players.do("hang", 3)
    for _ in range(25):  # a fifth of the time is its own
        lab.agent.signal(signal.SIGSTOP)
        await asyncio.sleep(0.16)
        lab.agent.signal(signal.SIGCONT)
        await asyncio.sleep(0.04)
    await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[3])
    await lab.quiet(0.5, expected=1)


async def test_a_killed_agent_takes_its_sessions_up_again_and_blames_nobody(lab) -> None:
    players = await lab.play("--interval-ms", "300", "--delay-ms", "20", count=10)
    await lab.start()
    await lab.registered(*players.uuids)
    lab.agent.kill()
    await asyncio.sleep(1.0)
    before = [guest["answers"] for guest in await players.summary()]
    lab.instances.clear()
    await lab.start()
    await lab.registered(*players.uuids)
    await lab.quiet(1.5)
    after = await players.summary()
    assert all(guest["answers"] > count + 2 for guest, count in zip(after, before, strict=True))
    await players.do("hang", 4)
    await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[4])


async def test_a_guest_that_hung_while_no_agent_ran_is_found_after_the_grace(lab) -> None:
    players = await lab.play("--interval-ms", "300", count=2)
    await lab.start()
    await lab.registered(*players.uuids)
    lab.agent.kill()
    await players.do("hang", 0)
    await lab.start()
    await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[0], timeout_s=15.0)
    await lab.quiet(0.5, expected=1)


async def test_qemu_that_died_while_no_agent_ran_is_found(lab) -> None:
    players = await lab.play("--interval-ms", "300", count=2)
    await lab.start()
    await lab.registered(*players.uuids)
    lab.agent.kill()
    await players.do("vanish", 0)
    await lab.start()
    await lab.fault(FaultKind.INSTANCE_LOST, uuid=players.uuids[0])
    await lab.quiet(0.5, expected=1)


async def test_a_fault_that_nobody_acknowledged_outlives_the_agent(lab) -> None:
    lab.acknowledging = False
    players = await lab.play("--interval-ms", "200", count=2)
    await lab.start()
    await lab.registered(*players.uuids)
    await players.do("hang", 0)
    first = await lab.fault(FaultKind.HEARTBEAT_LOST)
    lab.agent.kill()
    lab.faults.clear()
    lab.acknowledging = True
    await lab.start()
    again = await lab.fault(FaultKind.HEARTBEAT_LOST)
    assert (again.fault_id, again.seq) == (first.fault_id, first.seq)
    await players.do("wake", 0)
    cleared = await lab.fault(FaultKind.HEARTBEAT_LOST, CLEARED)
    assert cleared.fault_id == first.fault_id
    assert cleared.seq == first.seq + 1


async def test_a_fault_whose_instance_left_unseen_is_cleared(lab) -> None:
    players = await lab.play("--interval-ms", "200", count=2)
    await lab.start()
    await lab.registered(*players.uuids)
    await players.do("hang", 0)
    raised = await lab.fault(FaultKind.HEARTBEAT_LOST)
    lab.agent.kill()
    await players.do("leave", 0)
    await lab.start()
    cleared = await lab.fault(FaultKind.HEARTBEAT_LOST, CLEARED)
    assert cleared.fault_id == raised.fault_id
    assert "no longer on this host" in cleared.detail


async def all_answered(players, count: int) -> None:
    async with asyncio.timeout(30):
        while not all(guest["answers"] > count for guest in await players.summary()):
            await asyncio.sleep(0.1)


async def test_without_a_broker_heartbeats_go_on_and_faults_wait(lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    lab.configure(f"mqtt://127.0.0.1:{port}")
    players = await lab.play("--interval-ms", "200", count=2)
    lab.agent.start()
    await all_answered(players, 5)
    await players.do("hang", 0)
    await asyncio.sleep(1.0)
    await players.do("wake", 0)
    await all_answered(players, 10)
    await lab.listen_at(port)
    await lab.fault(FaultKind.HEARTBEAT_LOST, CLEARED)
    assert lab.told() == [("heartbeat_lost", "raised"), ("heartbeat_lost", "cleared")]
    assert lab.agent.log.count("no broker") == 1


async def test_a_stop_is_orderly_quick_and_keeps_the_sessions(lab) -> None:
    players = await lab.play("--interval-ms", "300", count=3)
    await lab.start()
    await lab.registered(*players.uuids)
    assert await lab.agent.terminate() < 1.0
    await lab.gone_offline(clean=True)
    await lab.start()
    await lab.registered(*players.uuids)
    await lab.quiet(1.0)


async def test_a_stop_is_quick_without_a_broker_too(lab) -> None:
    lab.configure("mqtt://127.0.0.1:9")
    await lab.play("--interval-ms", "300", count=3)
    lab.agent.start()
    await asyncio.sleep(1.5)
    assert await lab.agent.terminate() < 1.0
