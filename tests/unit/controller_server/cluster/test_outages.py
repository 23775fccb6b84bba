"""A host that is lost is one fault, and those of its instances are under it."""

from datetime import UTC, datetime, timedelta

import pytest

from reachthru.controller_server.model import iso
from reachthru.controller_server.store import leases
from reachthru.controller_server.store.changes import Arrived
from reachthru.controller_server.store.outages import Loss
from reachthru.controller_server.store.queries import FaultFilter

NOW = datetime.now(UTC)
LEADER = "this controller"


def ago(seconds):
    return iso(NOW - timedelta(seconds=seconds))


@pytest.fixture
def lose(ledger, make_change, database):
    """lose(host=..., fault_id=..., silence_s=..., instances=...) -> what was stored"""

    async def lose(host="compute-0", fault_id="lost", silence_s=30.0, instances=(), leader=LEADER):
        change = make_change(
            0,
            fault_id=fault_id,
            kind="host_lost",
            host=host,
            instance_uuid="",
            instance_name="",
            raised_at=ago(0),
            stages_ms={"last_good": -silence_s * 1000},
        )
        losses = [Loss(Arrived(change, NOW), list(instances))]
        return await ledger.lose_hosts(losses, leader)

    return lose


async def under(ledger):
    faults = await ledger.faults(FaultFilter())
    return {fault.id: fault.correlated_to for fault in faults}


async def test_a_host_is_lost_once_whoever_finds_it(lose, ledger):
    assert len(await lose(instances=["a", "b"])) == 1
    assert await lose(fault_id="again") == []
    (fault,) = await ledger.faults(FaultFilter())
    assert (fault.id, fault.host, fault.kind) == ("lost", "compute-0", "host_lost")
    assert fault.instances == ["a", "b"]
    assert fault.instance_uuid == "" and fault.correlated_to is None
    assert [delivery.sink for delivery in fault.deliveries] == ["log", "webhook"]


async def test_who_does_not_lead_calls_no_host_lost(lose, ledger, database):
    assert await database.write(lambda c: leases.hold_lease(c, "another"))
    assert await lose() == []
    assert await ledger.faults(FaultFilter()) == []


@pytest.mark.parametrize(
    ("raised_s_ago", "correlated"),
    [
        (10, "lost"),  # while it was silent
        (31, "lost"),  # just before its last report
        (89, "lost"),
        (91, None),  # long before: it stands for itself
    ],
)
async def test_what_was_raised_before_is_under_it_if_it_is_of_that_time(
    lose, ledger, arrived, raised_s_ago, correlated
):
    await ledger.add([arrived(1, raised_at=ago(raised_s_ago))])
    await ledger.add([arrived(2, host="compute-1", instance_uuid="b", raised_at=ago(10))])
    await lose()
    assert await under(ledger) == {"lost": None, "fault-1": correlated, "fault-2": None}


async def test_what_is_raised_while_it_is_lost_is_under_it(lose, ledger, arrived):
    await lose()
    await ledger.add([arrived(1), arrived(2, host="compute-1", instance_uuid="b")])
    assert await under(ledger) == {"lost": None, "fault-1": "lost", "fault-2": None}


async def test_what_a_host_that_is_back_brings_of_that_time_is_under_it(lose, ledger, arrived):
    await lose()
    back = arrived(
        9, fault_id="lost", kind="host_lost", status="cleared", instance_uuid="",
        cleared_at=ago(-60),
    )  # fmt: skip
    await ledger.add([back])
    await ledger.add([arrived(1, raised_at=ago(-30)), arrived(2, raised_at=ago(-90))])
    assert await under(ledger) == {"lost": None, "fault-1": "lost", "fault-2": None}


async def test_sinks_are_told_what_it_is_under(lose, ledger, arrived):
    await lose()
    await ledger.add([arrived(1), arrived(1, status="cleared")])
    claimer = ledger.claimer("webhook", 30.0)
    told = {}
    while found := await ledger.claim(claimer, 10):
        told.update({pending.fault.id: pending.fault.correlated_to for pending in found})
    assert told["fault-1"] == "lost"


async def test_a_time_that_is_none_correlates_nothing(lose, ledger, arrived):
    await ledger.add([arrived(1, raised_at="yesterday")])
    await lose()
    assert (await under(ledger))["fault-1"] is None
