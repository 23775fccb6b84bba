"""Masakari takes what we say, and its engine acts on it: its own code decides."""

import asyncio

import pytest

from reachthru.controller_server.sinks.base import NotNowError, RefusedError

pytestmark = pytest.mark.xdist_group("masakari")


@pytest.fixture
def make_masakari_sink(masakari, make_sink):
    def make(**settings):
        endpoint = f"{masakari.url}/v1"
        return make_sink("masakari", auth_type="none", endpoint_override=endpoint, **settings)

    return make


async def acted(masakari, what):
    """Its API answers before its engine acts."""
    async with asyncio.timeout(60):
        while what not in await asyncio.to_thread(masakari.get, "/acted"):
            await asyncio.sleep(0.05)


def told(masakari, fault):
    found = masakari.get("/v1/notifications")["notifications"]
    return [one for one in found if one["payload"].get("instance_uuid") == fault.instance_uuid]


@pytest.mark.parametrize(
    "kind", ["heartbeat_lost", "unhealthy", "guest_daemon_lost", "instance_lost"]
)
async def test_a_sick_instance_is_repaired(masakari, make_masakari_sink, make_fault, kind):
    fault = make_fault(kind)
    async with make_masakari_sink() as sink:
        await sink.deliver(fault)
    await acted(masakari, {"instance": fault.instance_uuid})


async def test_two_instances_of_one_host_are_two_repairs(masakari, make_masakari_sink, make_fault):
    faults = [make_fault(), make_fault()]
    async with make_masakari_sink() as sink:
        await asyncio.gather(*(sink.deliver(fault) for fault in faults))
    for fault in faults:
        await acted(masakari, {"instance": fault.instance_uuid})


async def test_a_repeat_is_taken_and_repairs_nothing_again(
    masakari, make_masakari_sink, make_fault
):
    fault = make_fault()
    async with make_masakari_sink() as sink:
        await sink.deliver(fault)
        await sink.deliver(fault)  # Masakari answers 409, duplicate
    await acted(masakari, {"instance": fault.instance_uuid})
    assert len(told(masakari, fault)) == 1


async def test_what_needs_no_repair_is_not_told(masakari, make_masakari_sink, make_fault):
    faults = [
        make_fault(status="cleared"),
        make_fault("never_registered"),
        make_fault(correlated_to="the loss of its host"),
    ]
    async with make_masakari_sink() as sink:
        for fault in faults:
            await sink.deliver(fault)
    assert [told(masakari, fault) for fault in faults] == [[], [], []]


async def test_an_operator_can_leave_guests_alone_that_did_not_ask(
    masakari, make_masakari_sink, make_fault
):
    faults = {
        "log": make_fault(corrective_action="log"),
        "reboot": make_fault(corrective_action="reboot"),
        "gone": make_fault("instance_lost", corrective_action="log"),
    }
    async with make_masakari_sink(corrective_actions="reboot") as sink:
        for fault in faults.values():
            await sink.deliver(fault)
    assert {name: len(told(masakari, fault)) for name, fault in faults.items()} == {
        "log": 0,
        "reboot": 1,
        "gone": 1,
    }


async def test_a_host_in_no_segment_is_a_no_for_ever(make_masakari_sink, make_fault):
    async with make_masakari_sink() as sink:
        with pytest.raises(RefusedError, match=r"400 .*compute-9 could not be found"):
            await sink.deliver(make_fault(host="compute-9"))


async def test_a_lost_host_is_noted_and_evacuated_only_where_it_is_fenced(
    masakari, make_masakari_sink, make_fault
):
    async with make_masakari_sink() as sink:
        await sink.deliver(make_fault("host_lost", host="compute-1"))
    async with asyncio.timeout(60):
        while True:
            found = await asyncio.to_thread(masakari.get, "/v1/notifications")
            statuses = {
                one["status"] for one in found["notifications"] if one["type"] == "COMPUTE_HOST"
            }
            if statuses == {"ignored"}:
                break
            await asyncio.sleep(0.05)
    assert {"host": "compute-1"} not in masakari.get("/acted")

    async with make_masakari_sink(host_status="NORMAL") as sink:
        await sink.deliver(make_fault("host_lost", host="compute-1"))
        await acted(masakari, {"host": "compute-1"})
        # Masakari now has the host under maintenance, and wants to hear nothing of it.
        with pytest.raises(RefusedError, match=r"409 .*under maintenance"):
            await sink.deliver(make_fault(host="compute-1"))


async def test_something_else_at_that_address_is_no_yes(masakari, make_sink, make_fault):
    sink = make_sink("masakari", auth_type="none", endpoint_override=f"{masakari.url}/acted?")
    async with sink:
        with pytest.raises(NotNowError, match="no notification was made"):
            await sink.deliver(make_fault())
