"""Fault changes, once each, in order, and who has been told."""

import pytest

from reachthru.controller_server.store.deliveries import Outcome
from reachthru.controller_server.store.queries import FaultFilter


def log(ledger):
    return ledger.claimer("log", 8.0)


async def told(ledger):
    """Everything that the log is told, as it takes it."""
    taken, claimed = [], await ledger.claim(log(ledger), 100)
    while claimed:
        taken += claimed
        claimed = await ledger.settle(
            log(ledger),
            [
                Outcome(change_id=item.change_id, sink="log", state="done", attempts=1)
                for item in claimed
            ],
        )
    return taken


async def faults(ledger, **wanted):
    return await ledger.faults(FaultFilter(**wanted))


def names(pending):
    return [(item.fault.id, item.fault.status) for item in pending]


async def test_a_fault_is_what_its_latest_change_says(ledger, arrived):
    await ledger.add([arrived(1, fault_id="f", raised_at="2026-01-01T00:00:00+00:00")])
    (raised,) = await faults(ledger)
    assert (raised.status, raised.cleared_at) == ("raised", None)
    cleared = arrived(2, fault_id="f", status="cleared", cleared_at="2026-01-01T00:00:01+00:00")
    await ledger.add([cleared])
    (fault,) = await faults(ledger)
    assert (fault.status, fault.cleared_at) == ("cleared", "2026-01-01T00:00:01+00:00")
    assert fault.raised_at == raised.raised_at


async def test_a_repeated_change_is_stored_once(ledger, arrived):
    once = arrived(1)
    assert len(await ledger.add([once, once])) == 1
    assert await ledger.add([once]) == []
    assert len(await told(ledger)) == 1


async def test_a_clearing_of_an_unknown_fault_is_raised_and_cleared(ledger, arrived):
    await ledger.add([arrived(2, fault_id="f", status="cleared")])
    pending = await told(ledger)
    assert names(pending) == [("f", "raised"), ("f", "cleared")]
    assert pending[0].fault.cleared_at is None
    assert await ledger.add([arrived(1, fault_id="f")]) == []


async def test_down_up_down_is_told_as_it_came(ledger, arrived):
    await ledger.add(
        [
            arrived(1, fault_id="a"),
            arrived(2, fault_id="a", status="cleared"),
            arrived(3, fault_id="b"),
        ]
    )
    assert names(await told(ledger)) == [("a", "raised"), ("a", "cleared"), ("b", "raised")]


async def test_a_change_that_is_told_late_is_told_as_it_was(ledger, arrived):
    await ledger.add([arrived(1, fault_id="f", detail="no answer")])
    await ledger.add([arrived(2, fault_id="f", status="cleared", detail="it answers")])
    first, second = await told(ledger)
    assert (first.fault.status, first.fault.cleared_at) == ("raised", None)
    assert first.fault.detail == "no answer"
    assert second.fault.detail == "it answers"


async def test_stages_are_those_of_the_agent_and_the_controllers(ledger, arrived):
    await ledger.add([arrived(1)])
    (pending,) = await ledger.claim(log(ledger), 9)
    stages_ms = pending.fault.stages_ms
    assert stages_ms["deadline"] == -1.5
    assert 0 <= stages_ms["controller"] <= stages_ms["stored"] < 5_000
    done = Outcome(change_id=pending.change_id, sink="log", state="done", attempts=1, done_ms=12.5)
    await ledger.settle(log(ledger), [done])
    (fault,) = await faults(ledger)
    assert fault.stages_ms == {**stages_ms, "sink:log": 12.5}
    assert [(d.sink, d.state, d.attempts) for d in fault.deliveries] == [
        ("log", "done", 1),
        ("webhook", "pending", 0),
    ]


async def test_what_was_read_before_its_time_was_known_is_told_with_it(ledger, arrived):
    (stored,) = await ledger.add([arrived(1)])
    (pending,) = await ledger.claim(log(ledger), 9)
    done = Outcome(change_id=pending.change_id, sink="log", state="done", attempts=1)
    await ledger.settle(log(ledger), [done])  # writes the time down
    assert ledger.stage(stored.id) == {"stored": pending.fault.stages_ms["stored"]}


async def test_an_agents_time_that_is_no_time_costs_the_stage_only(ledger, arrived):
    await ledger.add([arrived(1, raised_at="yesterday")])
    (fault,) = await faults(ledger)
    assert fault.raised_at == "yesterday"
    assert "controller" not in fault.stages_ms
    assert fault.stages_ms["detected"] == 0


async def test_a_clearing_without_its_time_gets_that_of_its_arrival(ledger, arrived):
    item = arrived(2, fault_id="f", status="cleared", cleared_at=None)
    await ledger.add([item])
    (fault,) = await faults(ledger)
    assert fault.cleared_at == item.at.isoformat(timespec="microseconds")


async def test_what_a_sink_took_is_pending_no_more_and_others_still_are(ledger, arrived):
    await ledger.add([arrived(1), arrived(2)])
    assert len(await told(ledger)) == 2
    assert await told(ledger) == []
    backlog = await ledger.backlog()
    assert {sink: waiting.changes for sink, waiting in backlog.items()} == {"webhook": 2}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["d", "c", "b", "a"]),
        ({"active": True}, ["c", "b", "a"]),
        ({"active": False}, ["d"]),
        ({"instance": "uuid-2"}, ["d", "b"]),
        ({"instance": "uuid-2", "active": True}, ["b"]),
        ({"host": "compute-1"}, ["c"]),
        ({"limit": 2}, ["d", "c"]),
        ({"instance": "nobody"}, []),
    ],
)
async def test_faults_can_be_asked_for(ledger, arrived, wanted, found):
    await ledger.add(
        [
            arrived(1, fault_id="a"),
            arrived(2, fault_id="b", instance_uuid="uuid-2"),
            arrived(3, fault_id="c", host="compute-1"),
            arrived(4, fault_id="d", instance_uuid="uuid-2"),
            arrived(5, fault_id="d", instance_uuid="uuid-2", status="cleared"),
        ]
    )
    assert [fault.id for fault in await faults(ledger, **wanted)] == found
