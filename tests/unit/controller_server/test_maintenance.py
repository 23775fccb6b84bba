"""Maintenance windows: what is held back, until when, and that nothing is lost by it."""

import logging
import time

import pytest

from reachthru.controller_server import maintenance as service
from reachthru.controller_server.groups.base import Group, GroupDirectory, Member
from reachthru.controller_server.maintenance import Maintenance
from reachthru.controller_server.store import changes, clock, deliveries, latecomers
from reachthru.controller_server.store import maintenance as store
from reachthru.controller_server.store.deliveries import Outcome
from reachthru.controller_server.store.outages import Loss
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.controller_server.windows import Scope, Window
from reachthru.protocol.faults import FaultKind

HOUR_S = 3600.0


class Groups(GroupDirectory):
    """One group, whose members a test sets."""

    members = ("uuid-1",)
    stale = False

    async def run(self):
        """It is as it is."""

    async def ready(self):
        """It is."""

    def groups(self):
        named = [
            Member(uuid=uuid, name=uuid, host=None, state="active", project_id="p", status={})
            for uuid in self.members
        ]
        return [Group(id="g", name="g", members=named)]

    def group(self, group_id):
        return next((group for group in self.groups() if group.id == group_id), None)

    def group_of(self, instance_uuid):
        return self.groups()[0] if instance_uuid in self.members else None


class Clock:
    """The database's, which a test sets forward and back."""

    offset_s = 0.0


@pytest.fixture
def database_clock(monkeypatch):
    set_by = Clock()

    def now_s(connection):
        return real(connection) + set_by.offset_s

    real = clock.now_s
    for module in (changes, deliveries, latecomers, service):
        monkeypatch.setattr(module, "now_s", now_s)
    return set_by


@pytest.fixture
def groups():
    return Groups()


@pytest.fixture
def woken():
    return []


@pytest.fixture
def maintenance(database, groups, woken, database_clock):
    return Maintenance(database, groups, leads=lambda: True, on_released=woken.extend)


async def start(maintenance, scope="instance", subject="uuid-1", for_s=HOUR_S):
    window = await maintenance.start(Scope(scope), subject, for_s=for_s, reason="", by="ann")
    return window.id


async def told(ledger, sink="log"):
    """(fault, status) of everything that the sink is told now."""
    claimer = ledger.claimer(sink, 8.0)
    taken, claimed = [], await ledger.claim(claimer, 100)
    while claimed:
        taken += [(item.fault.id, item.fault.status) for item in claimed]
        outcomes = [
            Outcome(change_id=item.change_id, sink=sink, state="done", attempts=1)
            for item in claimed
        ]
        claimed = await ledger.settle(claimer, outcomes)
    return taken


async def marks(ledger):
    return {fault.id: fault.maintenance for fault in await ledger.faults(FaultFilter())}


async def turn(maintenance):
    await maintenance.turn(time.monotonic())


@pytest.mark.parametrize(
    ("scope", "subject"), [("instance", "uuid-1"), ("host", "compute-0"), ("group", "g")]
)
async def test_a_fault_within_a_window_is_shown_and_not_told(
    maintenance, ledger, arrived, scope, subject
):
    window = await start(maintenance, scope, subject)
    await ledger.add([arrived(1, fault_id="f")])
    await turn(maintenance)
    assert await told(ledger) == []
    (fault,) = await ledger.faults(FaultFilter(active=True))
    assert fault.maintenance == window
    assert {delivery.state for delivery in fault.deliveries} == {"suppressed"}
    assert await ledger.catch_up("new sink", 100, None) == 0
    assert ledger.suppressed == {"log": 1, "webhook": 1}


async def test_others_faults_are_told_as_ever(maintenance, ledger, arrived):
    await start(maintenance)
    await ledger.add([arrived(1, fault_id="f"), arrived(2, fault_id="g", instance_uuid="uuid-2")])
    assert await told(ledger) == [("g", "raised")]
    assert await marks(ledger) == {"f": (await marks(ledger))["f"], "g": None}


async def test_what_is_still_wrong_when_the_window_expires_is_told_then(
    maintenance, ledger, arrived, database_clock, woken
):
    await start(maintenance, for_s=60.0)
    await ledger.add([arrived(1, fault_id="f")])
    database_clock.offset_s = 61.0
    await turn(maintenance)
    assert woken == ["f"]
    assert await told(ledger) == [("f", "raised")]
    assert await marks(ledger) == {"f": None}
    assert maintenance.released == {"log": 1, "webhook": 1}
    assert await ledger.catch_up("new sink", 100, None) == 1
    await ledger.add([arrived(2, fault_id="f", status="cleared")])
    assert await told(ledger) == [("f", "cleared")]


async def test_what_began_and_ended_within_the_window_is_never_told(
    maintenance, ledger, arrived, database_clock
):
    window = await start(maintenance, for_s=60.0)
    await ledger.add([arrived(1, fault_id="f")])
    await ledger.add([arrived(2, fault_id="f", status="cleared")])
    await ledger.add([arrived(3, fault_id="at once", status="cleared")])
    database_clock.offset_s = 61.0
    await turn(maintenance)
    assert await told(ledger) == []
    assert await marks(ledger) == {"f": window, "at once": window}
    assert await ledger.catch_up("new sink", 100, None) == 0  # nor is one that comes later
    await ledger.add([arrived(4, fault_id="later")])  # ... and it keeps nothing waiting
    assert await told(ledger) == [("later", "raised")]


async def test_the_end_of_a_fault_that_was_told_is_told_within_a_window_too(
    maintenance, ledger, arrived
):
    await ledger.add([arrived(1, fault_id="f")])
    assert await told(ledger) == [("f", "raised")]
    await start(maintenance)
    await ledger.add([arrived(2, fault_id="f", status="cleared")])
    assert await told(ledger) == [("f", "cleared")]


async def test_an_operator_may_end_it_sooner(maintenance, ledger, arrived, caplog):
    caplog.set_level(logging.WARNING)
    window = await start(maintenance)
    await ledger.add([arrived(1, fault_id="f")])
    ended = await maintenance.end(window, "bob")
    assert (ended.state, ended.ended_by) == ("ended", "bob")
    assert await told(ledger) == [("f", "raised")]
    assert await maintenance.windows(ended=False) == []
    assert [one.id for one in await maintenance.windows(ended=True)] == [window]
    for words in ("ann starts it", "ended by bob", "1 faults that are still there"):
        assert words in caplog.text
    assert await maintenance.end("nonsense", "bob") is None


async def test_under_two_windows_the_longer_one_counts(
    maintenance, ledger, arrived, database_clock
):
    await start(maintenance, for_s=60.0)
    await ledger.add([arrived(1, fault_id="f")])
    longer = await start(maintenance, "host", "compute-0", for_s=HOUR_S)
    database_clock.offset_s = 61.0
    await turn(maintenance)
    assert await told(ledger) == []
    assert await marks(ledger) == {"f": longer}
    database_clock.offset_s = HOUR_S + 61.0
    await turn(maintenance)
    assert await told(ledger) == [("f", "raised")]


async def test_a_groups_new_member_is_under_its_window(maintenance, ledger, arrived, groups):
    await start(maintenance, "group", "g")
    groups.members = ("uuid-1", "uuid-2")
    await turn(maintenance)
    await ledger.add([arrived(1, fault_id="f", instance_uuid="uuid-2")])
    assert await told(ledger) == []


async def test_a_hosts_loss_is_held_with_its_window(maintenance, ledger, arrived, database):
    await start(maintenance, "host", "compute-0")
    change = arrived(1, fault_id="h", kind=FaultKind.HOST_LOST, instance_uuid="")
    await database.write(lambda c: store_loss(c, Loss(arrived=change, instances=["uuid-1"])))
    assert await told(ledger) == []


def store_loss(connection, loss):
    from reachthru.controller_server.store.outages import lose_hosts

    return lose_hosts(connection, [loss], ["log"])


async def test_a_clock_that_is_set_back_ends_a_window_rather_than_prolongs_it(
    maintenance, ledger, arrived, database_clock
):
    await start(maintenance, for_s=600.0)
    await ledger.add([arrived(1, fault_id="f")])
    database_clock.offset_s = -30.0  # it is being put right: no matter
    await turn(maintenance)
    assert await told(ledger) == []
    database_clock.offset_s = -HOUR_S
    await turn(maintenance)
    assert await told(ledger) == [("f", "raised")]
    assert [one.state for one in await maintenance.windows(ended=True)] == ["expired"]


async def test_a_follower_leaves_the_end_to_the_leader(
    database, groups, ledger, arrived, maintenance, database_clock
):
    follower = Maintenance(database, groups, leads=lambda: False, on_released=lambda _: None)
    await start(maintenance, for_s=60.0)
    await ledger.add([arrived(1, fault_id="f")])
    database_clock.offset_s = 61.0
    await turn(follower)
    assert await told(ledger) == []
    await turn(maintenance)
    assert await told(ledger) == [("f", "raised")]


async def test_old_windows_are_forgotten_once_no_fault_names_them(
    maintenance, ledger, arrived, database, database_clock
):
    named, _unnamed = await start(maintenance, for_s=60.0), await start(maintenance, "host", "h")
    await ledger.add([arrived(1, fault_id="f")])
    await ledger.add([arrived(2, fault_id="f", status="cleared")])
    database_clock.offset_s = 2 * HOUR_S
    await turn(maintenance)
    database_clock.offset_s += store.KEEP_S + HOUR_S
    await maintenance.turn(time.monotonic() + 2 * service.FORGET_S)
    assert [one.id for one in await maintenance.windows(ended=True)] == [named]


async def test_many_windows_are_refused(maintenance, monkeypatch):
    monkeypatch.setattr(store, "ACTIVE_LIMIT", 2)
    await start(maintenance)
    await start(maintenance)
    with pytest.raises(service.TooManyError):
        await start(maintenance)


@pytest.mark.parametrize(
    ("now", "active"), [(99.0, True), (100.0, True), (199.9, True), (200.0, False), (39.0, False)]
)
def test_a_window_lasts_from_its_start_to_its_end(now, active):
    window = Window(
        id="w", scope=Scope.HOST, subject="h", instances=[], reason="", started_by="",
        started_at=100.0, until=200.0,
    )  # fmt: skip
    assert window.is_active(now) is active
    assert window.covers("", "h")
    assert not window.covers("h", "other")
