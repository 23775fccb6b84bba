"""What a controller is told of guests that go wrong: real agent, real sockets, real broker."""

import pytest

from reachthru.protocol.faults import FaultKind, FaultStatus

RAISED, CLEARED = FaultStatus.RAISED, FaultStatus.CLEARED


@pytest.mark.parametrize(
    "dialect",
    [
        pytest.param((), id="mux-base-version-1"),
        pytest.param(("--base-version", "2"), id="mux-base-version-2"),
        pytest.param(("--data-as-string",), id="mux-data-as-string"),
        pytest.param(("--bare",), id="bare"),
    ],
)
async def test_a_guest_of_others_is_heartbeated_and_its_hang_is_told_in_time(lab, dialect) -> None:
    players = await lab.play("--interval-ms", "200", *dialect)
    await lab.start()
    (uuid,) = players.uuids
    await lab.registered(uuid)
    assert lab.instances[uuid].interval_ms == 200
    hung_at = await players.do("hang")
    change = await lab.fault(FaultKind.HEARTBEAT_LOST)
    assert lab.arrival(change) - hung_at < 2 * 0.2 + 0.1
    assert change.instance_uuid == uuid
    assert change.stages_ms["detected"] == 0
    assert -50 < change.stages_ms["deadline"] <= 0
    assert change.stages_ms["last_good"] < change.stages_ms["deadline"]
    assert change.stages_ms["outbox"] > 0
    assert change.corrective_action == "log"
    await players.do("wake")
    cleared = await lab.fault(FaultKind.HEARTBEAT_LOST, CLEARED)
    assert cleared.fault_id == change.fault_id
    assert cleared.raised_at == change.raised_at < cleared.cleared_at


async def test_an_unhealthy_guest_is_told_within_an_interval_with_its_reason(lab) -> None:
    players = await lab.play("--interval-ms", "300")
    await lab.start()
    await lab.registered(*players.uuids)
    turned_at = await players.do("unhealthy", corrective_action="reboot", log_msg="database gone")
    change = await lab.fault(FaultKind.UNHEALTHY)
    assert lab.arrival(change) - turned_at < 0.3 + 0.1
    assert (change.detail, change.corrective_action) == ("database gone", "reboot")
    await players.do("healthy")
    await lab.fault(FaultKind.UNHEALTHY, CLEARED)


async def test_a_killed_guest_daemon_is_told_at_once_and_forgiven_when_it_is_back(lab) -> None:
    players = await lab.play("--interval-ms", "10000")
    await lab.start()
    await lab.registered(*players.uuids)
    killed_at = await players.do("close")
    change = await lab.fault(FaultKind.GUEST_DAEMON_LOST)
    assert lab.arrival(change) - killed_at < 0.15
    await players.do("open")
    await lab.fault(FaultKind.GUEST_DAEMON_LOST, CLEARED)
    assert len(lab.told()) == 2


async def test_a_guest_that_says_goodbye_is_no_fault(lab) -> None:
    players = await lab.play("--interval-ms", "200")
    await lab.start()
    await lab.registered(*players.uuids)
    await players.do("exit")
    await lab.registered_not(*players.uuids)
    await lab.quiet(1.0)


async def test_qemu_that_dies_is_told_at_once_and_only_as_that(lab) -> None:
    players = await lab.play("--interval-ms", "10000")
    await lab.start()
    (uuid,) = players.uuids
    await lab.registered(uuid)
    died_at = await players.do("vanish")
    change = await lab.fault(FaultKind.INSTANCE_LOST)
    assert lab.arrival(change) - died_at < 0.15
    await lab.quiet(0.5, expected=1)
    assert lab.instances[uuid].state == "gone"
    await players.do("return")
    await lab.fault(FaultKind.INSTANCE_LOST, CLEARED)
    assert lab.told() == [("instance_lost", "raised"), ("instance_lost", "cleared")]


async def test_an_instance_that_is_removed_leaves_no_fault_behind(lab) -> None:
    players = await lab.play("--interval-ms", "200", count=3)
    await lab.start()
    await lab.registered(*players.uuids)
    await players.do("leave", 0)
    await players.do("hang", 1)
    await lab.fault(FaultKind.HEARTBEAT_LOST, uuid=players.uuids[1])
    await players.do("leave", 1)
    cleared = await lab.fault(FaultKind.HEARTBEAT_LOST, CLEARED, uuid=players.uuids[1])
    assert "removed" in cleared.detail
    await lab.quiet(0.5, expected=2)
    assert set(lab.instances) == {players.uuids[2]}


async def test_a_port_that_nobody_uses_is_no_fault_and_no_traffic(lab) -> None:
    players = await lab.play("--no-init")
    await lab.start()
    await lab.quiet(1.0)
    (summary,) = await players.summary()
    assert summary["challenges"] == 0
    assert lab.instances[players.uuids[0]].registered is False


async def test_a_guest_that_never_registers_is_a_fault_only_where_a_limit_is_set(lab) -> None:
    lab.configure(
        f"mqtt://127.0.0.1:{lab.broker.port}", extra="[heartbeat]\nregistration_limit_s = 0.5"
    )
    players = await lab.play("--no-init")
    await lab.start()
    change = await lab.fault(FaultKind.NEVER_REGISTERED)
    assert change.instance_uuid == players.uuids[0]
