"""Tacker takes what we say: its own code finds the VNF's component, and starts what heals it."""

import asyncio
import uuid

import pytest

from reachthru.controller_server.sinks.base import NotNowError, RefusedError

pytestmark = pytest.mark.xdist_group("tacker")


@pytest.fixture
def make_tacker_sink(tacker, make_sink):
    def make(**settings):
        return make_sink("tacker", auth_type="none", endpoint_override=tacker.url, **settings)

    return make


@pytest.fixture
def make_vnf(tacker):
    """make_vnf(server, ...): a VNF with one component for each server; returns its id."""

    def make(*servers, autoheal=True, alarm=True):
        vnf = str(uuid.uuid4())
        resources = [
            {
                "id": f"resource-{number}",
                "vduId": "vdu",
                "computeResource": {"resourceId": server},
                "metadata": {"server_notification": {"alarmId": f"alarm-{number}"}}
                if alarm
                else {},
            }
            for number, server in enumerate(servers)
        ]
        components = [
            {
                "id": f"vnfc-{number}",
                "vduId": "vdu",
                "vnfcResourceInfoId": f"resource-{number}",
                "vnfcState": "STARTED",
            }
            for number in range(len(servers))
        ]
        tacker.put(
            {
                "id": vnf,
                "vnfdId": "vnfd",
                "vnfProvider": "provider",
                "vnfProductName": "product",
                "vnfSoftwareVersion": "1.0",
                "vnfdVersion": "1.0",
                "instantiationState": "INSTANTIATED",
                "vnfConfigurableProperties": {"isAutohealEnabled": autoheal},
                "instantiatedVnfInfo": {
                    "flavourId": "simple",
                    "vnfState": "STARTED",
                    "vnfcResourceInfo": resources,
                    "vnfcInfo": components,
                    "metadata": {"ServerNotifierFaultID": ["1234"]},
                },
            }
        )
        return vnf

    return make


async def done(tacker, vnf):
    """What was asked of the conductor, which hears of it after the API's answer."""
    async with asyncio.timeout(60):
        while True:
            found = await asyncio.to_thread(tacker.get, "/done")
            of_vnf = [one for one in found if one["vnf"] == vnf]
            if of_vnf:
                return of_vnf
            await asyncio.sleep(0.05)


async def test_the_component_of_a_sick_server_is_healed(
    tacker, make_tacker_sink, make_vnf, make_fault
):
    sick = make_fault(detail="x" * 400)
    vnf = make_vnf(str(uuid.uuid4()), sick.instance_uuid)
    for _ in range(3):  # there are several pages of VNFs
        make_vnf(str(uuid.uuid4()))
    async with make_tacker_sink() as sink:
        await sink.deliver(sick)
    ((operation),) = await done(tacker, vnf)
    assert operation["operation"] == "HEAL"
    assert operation["parameters"]["vnfcInstanceId"] == ["vnfc-1"]
    assert operation["parameters"]["cause"].startswith("reachthru: heartbeat_lost: xxx")


async def test_a_vnf_with_another_operation_is_waited_for(
    tacker, make_tacker_sink, make_vnf, make_fault
):
    faults = [make_fault(detail="Heat fails"), make_fault()]
    vnf = make_vnf(*(fault.instance_uuid for fault in faults))
    async with make_tacker_sink() as sink:
        await sink.deliver(faults[0])
        await done(tacker, vnf)
        with pytest.raises(NotNowError, match=r"409 .*in progress"):
            await sink.deliver(faults[1])


async def test_tacker_is_notified_with_the_alarm_that_it_registered(
    tacker, make_tacker_sink, make_vnf, make_fault
):
    faults = [make_fault(), make_fault()]
    vnf = make_vnf(*(fault.instance_uuid for fault in faults))
    async with make_tacker_sink(call="notify") as sink:
        for fault in faults:
            await sink.deliver(fault)
    async with asyncio.timeout(60):
        while len(await done(tacker, vnf)) < 2:
            await asyncio.sleep(0.05)
    assert [one["notified"] for one in await done(tacker, vnf)] == [["vnfc-0"], ["vnfc-1"]]


@pytest.mark.parametrize(
    ("how", "says"),
    [({"alarm": False}, "no alarm for server"), ({"autoheal": False}, "isAutohealEnabled off")],
)
async def test_a_notification_that_tacker_would_ignore_is_not_called_done(
    make_tacker_sink, make_vnf, make_fault, how, says
):
    fault = make_fault()
    make_vnf(fault.instance_uuid, **how)
    async with make_tacker_sink(call="notify") as sink:
        with pytest.raises(RefusedError, match=says):
            await sink.deliver(fault)


async def test_servers_of_no_vnf_and_hosts_are_none_of_its_business(
    tacker, make_tacker_sink, make_fault
):
    before = tacker.get("/done")
    async with make_tacker_sink() as sink:
        await sink.deliver(make_fault())
        await sink.deliver(make_fault("host_lost"))
        await sink.deliver(make_fault(status="cleared"))
    assert tacker.get("/done") == before
