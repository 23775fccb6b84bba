"""What is known about a fault when Nova is to act, and how much was done lately."""

import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from reachthru.controller_server.sinks.nova import book as nova_book
from reachthru.controller_server.sinks.nova.policy import Action, DeedState, Limits, Tally
from reachthru.controller_server.store.changes import Arrived
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.outages import Loss
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.controller_server.store.tables import nova_actions

WINDOW_S = 600.0
KINDS = ("heartbeat_lost", "unhealthy")
LIMITS = Limits(window_s=WINDOW_S, per_instance=2, per_host=2, per_cloud=3, hosts=1)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request, tmp_path):
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    else:
        url = f"sqlite:///{tmp_path}/controller.sqlite"
    database = Database(url)
    await database.open()
    yield database
    await database.close()


class Cloud:
    def __init__(self, database, arrived):
        self._database = database
        self._arrived = arrived
        self.ledger = Ledger(database, ["nova"], "controller-1")

    async def fault(self, instance=None, host="compute-0", **values):
        fault_id = uuid.uuid4().hex
        change = self._arrived(
            1, fault_id=fault_id, instance_uuid=instance or uuid.uuid4().hex, host=host, **values
        )
        await self.ledger.add([change])
        return await self._stored(fault_id)

    async def lose_host(self, host):
        change = self._arrived(1, kind="host_lost", host=host, fault_id=host, instance_uuid="")
        await self.ledger.lose_hosts(
            [Loss(Arrived(change.change, datetime.now(UTC)), [])], "the leader"
        )
        return await self._stored(host)

    async def clear(self, fault):
        change = self._arrived(
            2,
            fault_id=fault.id,
            status="cleared",
            instance_uuid=fault.instance_uuid,
            host=fault.host,
        )
        await self.ledger.add([change])

    async def begin(self, fault, action=Action.REBOOT, marker="m"):
        return await self.write(nova_book.begin, fault, action, marker, LIMITS)

    async def book(self, fault):
        return await self._database.read(lambda c: nova_book.read_book(c, fault, KINDS, WINDOW_S))

    async def write(self, operation, *arguments):
        return await self._database.write(lambda c: operation(c, *arguments))

    async def age(self, seconds):
        """All that was begun was begun that much earlier."""
        await self._database.write(
            lambda c: c.execute(
                update(nova_actions).values(begun_at=nova_actions.c.begun_at - seconds)
            )
        )

    async def _stored(self, fault_id):
        faults = await self.ledger.faults(FaultFilter(limit=1000))
        return next(fault for fault in faults if fault.id == fault_id)


@pytest.fixture
def cloud(database, arrived):
    return Cloud(database, arrived)


async def test_a_new_fault_is_active_and_nothing_was_done(cloud):
    book = await cloud.book(await cloud.fault())
    assert (book.is_active, book.correlated_to) == (True, None)
    assert (book.deeds, book.others, book.tally) == ((), (), Tally())


async def test_a_deed_is_seen_begun_and_done_and_keeps_its_first_marker(cloud):
    fault = await cloud.fault("i1")
    for step, state in (
        (lambda: cloud.write(nova_book.see, fault, Action.REBOOT, "first"), DeedState.SEEN),
        (lambda: cloud.write(nova_book.see, fault, Action.REBOOT, "second"), DeedState.SEEN),
        (lambda: cloud.begin(fault, marker="third"), DeedState.BEGUN),
        (lambda: cloud.write(nova_book.end, fault.id, Action.REBOOT, "req"), DeedState.DONE),
    ):
        assert await step() is None
        (deed,) = (await cloud.book(fault)).deeds
        assert (deed.state, deed.marker, deed.subject) == (state, "first", "i1")
    assert deed.ours == "req"
    await cloud.write(nova_book.undo, "i1", Action.REBOOT)
    assert (await cloud.book(fault)).deeds[0].state is DeedState.UNDONE


async def test_nothing_is_begun_for_a_fault_that_is_cleared(cloud):
    fault = await cloud.fault()
    await cloud.clear(fault)
    assert await cloud.begin(fault) == "the fault is being cleared"
    book = await cloud.book(fault)
    assert (book.is_active, book.deeds) == (False, ())


async def test_what_is_begun_counts_once_an_instance_for_its_host_and_the_cloud(cloud):
    first = await cloud.fault("i1")
    assert await cloud.begin(first, Action.RESET_STATE) is None
    assert await cloud.begin(first, Action.REBOOT) is None
    other = await cloud.fault("i2", host="compute-1")
    await cloud.write(nova_book.see, other, Action.REBOOT, "m")  # wanted only
    assert await cloud.begin(await cloud.fault("i3", host="compute-1")) is None

    assert (await cloud.book(first)).tally == Tally(in_cloud=1)
    assert (await cloud.book(await cloud.fault("i1"))).tally == Tally(of_instance=1, in_cloud=1)
    assert (await cloud.book(other)).tally == Tally(on_host=1, in_cloud=2)
    await cloud.age(WINDOW_S + 1)
    assert (await cloud.book(other)).tally == Tally()
    await cloud.age(-2 * WINDOW_S)  # the clock was set back
    assert (await cloud.book(other)).tally == Tally()


async def test_a_limit_holds_until_its_window_is_over(cloud):
    faults = [await cloud.fault() for _ in range(3)]
    assert [await cloud.begin(fault) for fault in faults[:2]] == [None, None]
    assert "max_per_host" in await cloud.begin(faults[2])
    assert len((await cloud.book(faults[2])).deeds) == 0
    await cloud.age(WINDOW_S)
    assert await cloud.begin(faults[2]) is None


async def test_what_nova_refused_counts_for_nothing(cloud):
    fault = await cloud.fault()
    await cloud.begin(fault)
    await cloud.write(nova_book.take_back, fault.id, Action.REBOOT)
    assert (await cloud.book(await cloud.fault())).tally == Tally()


async def test_hosts_are_counted_apart(cloud):
    lost = await cloud.lose_host("compute-0")
    assert await cloud.begin(lost, Action.FORCE_DOWN, "") is None
    other = await cloud.lose_host("compute-1")
    assert "max_hosts" in await cloud.begin(other, Action.FORCE_DOWN, "")
    assert (await cloud.book(other)).tally == Tally(hosts=1)
    # An instance's fault comes of its host's loss, and says so.
    assert (await cloud.book(await cloud.fault(host="compute-0"))).correlated_to == "compute-0"


async def test_other_active_faults_of_the_instance_are_known(cloud):
    fault = await cloud.fault("i1")
    second = await cloud.fault("i1", kind="unhealthy")
    await cloud.fault("i1", kind="guest_daemon_lost")  # of no kind that is acted on
    await cloud.fault("i2")
    assert (await cloud.book(fault)).others == (second.id,)
    await cloud.clear(second)
    assert (await cloud.book(fault)).others == ()


async def test_a_forgotten_fault_takes_what_was_done_along(cloud):
    fault = await cloud.fault("i1")
    await cloud.begin(fault)
    await cloud.clear(fault)
    taken = await cloud.ledger.claim(cloud.ledger.claimer("nova", 8.0), 10)
    assert taken
    no_sinks = Ledger(cloud._database, [], "controller-1")
    assert (await no_sinks.forget_cleared(0, 10, 0.0)).faults == 1
    assert (await cloud.book(fault)).deeds == ()
