"""OpenStack's sinks that speak HTTP, in a real controller: trouble at a receiver is its own."""

import asyncio
import itertools
import json
import uuid
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from .conftest import ControllerProcess, Receiver, SimulatedAgent, until

# One controller for all tests here: a start is what takes long.
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("http_sinks"),
]
VNF = "0b8d1f0e-0000-4000-8000-000000000001"
# What is wrong with a receiver, and what to do to it.
TROUBLES = {
    "absent": None,
    "hung": "hang",
    "slow": "trickle",
    "busy": "503 Service Unavailable",
    "impatient": "429 Too Many Requests",
    "unfriendly": "403 Forbidden",
    "wrong inside": "200 OK",
    "elsewhere": "302 Found\r\nLocation: {elsewhere}",
}
TIMEOUT_S = 0.5


def tacker_reply(servers):
    def reply(method, _path, _body):
        if method != "GET":
            return "202 Accepted", b""
        resources = [
            {"id": f"r-{server}", "computeResource": {"resourceId": server}} for server in servers
        ]
        vnfcs = [
            {"id": f"vnfc-{server}", "vnfcResourceInfoId": f"r-{server}"} for server in servers
        ]
        info = {"vnfcResourceInfo": resources, "vnfcInfo": vnfcs}
        return "200 OK", json.dumps([{"id": VNF, "instantiatedVnfInfo": info}]).encode()

    return reply


def masakari_reply(_method, _path, body):
    return "202 Accepted", json.dumps({"notification": body["notification"]}).encode()


def time_of_event(body):
    return body["event"]["time"]


class Cloud:
    """A controller, who it tells (by name, `webhook` is in no trouble), an agent."""

    def __init__(self, folder):
        # Tacker's sink may have asked for its servers before a test names some.
        self._servers = [str(uuid.uuid4()) for _ in range(100)]
        self._unused = iter(self._servers)
        self._numbers = itertools.count()
        any_time = lambda _body: "2026-01-01T00:00:00"  # noqa: E731  (only Doctor's body says it)
        self.webhook = Receiver()
        self.consumers = {
            "doctor": Receiver(detected_at=time_of_event),
            "masakari": Receiver(reply=masakari_reply, detected_at=any_time),
            "tacker": Receiver(reply=tacker_reply(self._servers), detected_at=any_time),
        }
        self._folder = folder
        self._stack = AsyncExitStack()

    async def __aenter__(self):
        for receiver in (self.webhook, *self.consumers.values()):
            await receiver.open()
            self._stack.push_async_callback(receiver.close)
        self.controller = ControllerProcess(self._folder, self.webhook.url)
        self.controller.add_sink(
            "doctor", url=self.consumers["doctor"].url, timeout=TIMEOUT_S, reconcile_interval=0
        )
        for name in ("masakari", "tacker"):
            endpoint = self.consumers[name].address
            self.controller.add_sink(
                name, auth_type="none", endpoint_override=endpoint, timeout=TIMEOUT_S
            )
        await self.controller.start()
        self._stack.push_async_callback(self.controller.kill)
        self._agent = await self._stack.enter_async_context(
            SimulatedAgent(self.controller.bus_url, "compute-0")
        )
        return self

    async def __aexit__(self, *error):
        await self._stack.aclose()

    async def fails(self):
        """An instance, and its fault; returns the ids of both."""
        instance, fault_id = next(self._unused), f"f{next(self._numbers)}"
        await self._agent.raise_all([self._agent.change(fault_id, instance=instance)])
        return instance, fault_id

    def told_of(self, instance):
        """{name: how often}."""
        bodies = {name: consumer.told for name, consumer in self.consumers.items()}
        return {
            "doctor": [one["event"]["details"]["instance_uuid"] for one in bodies["doctor"]].count(
                instance
            ),
            "masakari": [
                one["notification"]["payload"]["instance_uuid"] for one in bodies["masakari"]
            ].count(instance),
            "tacker": [one["vnfcInstanceId"][0] for one in bodies["tacker"]].count(
                f"vnfc-{instance}"
            ),
        }

    async def deliveries(self, fault_id):
        """{sink: state} of the fault; none before it is stored."""
        found = (await self.controller.get("/v1/faults"))["faults"]
        return {
            delivery["sink"]: delivery["state"]
            for fault in found
            if fault["id"] == fault_id
            for delivery in fault["deliveries"]
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory):
    async with Cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_receiver_in_trouble_is_tried_again_and_holds_up_nobody(cloud, trouble):
    for consumer in cloud.consumers.values():
        if TROUBLES[trouble] is None:
            await consumer.close()
        else:
            consumer.mode = TROUBLES[trouble].format(elsewhere=cloud.webhook.url)
    heard = len(cloud.webhook.told)
    failed = [await cloud.fails() for _ in range(2)]
    await until(lambda: len(cloud.webhook.told) == heard + 2)  # at once
    began = {name: consumer.attempts for name, consumer in cloud.consumers.items()}
    await asyncio.sleep(1.5)
    tried = {name: consumer.attempts - began[name] for name, consumer in cloud.consumers.items()}
    # It rests for 0.25 s, then twice as long each time, less up to half; for each of 2 instances.
    assert all(times <= 12 for times in tried.values()), tried
    for instance, fault_id in failed:
        assert cloud.told_of(instance) == {"doctor": 0, "masakari": 0, "tacker": 0}
        states = await cloud.deliveries(fault_id)
        in_trouble = dict.fromkeys(cloud.consumers, "pending")
        assert states == {**in_trouble, "log": "done", "webhook": "done"}

    for consumer in cloud.consumers.values():
        consumer.mode = "answer"
        if TROUBLES[trouble] is None:
            await consumer.open()
    await until(
        lambda: all(min(cloud.told_of(instance).values()) >= 1 for instance, _fault in failed)
    )
    assert len(cloud.webhook.told) == heard + 2  # nobody was led there


async def test_a_no_for_ever_is_said_and_not_repeated(cloud):
    began = {name: consumer.attempts for name, consumer in cloud.consumers.items()}
    for consumer in cloud.consumers.values():
        consumer.mode = "400 Bad Request"
    _instance, fault_id = await cloud.fails()
    refused = dict.fromkeys(cloud.consumers, "failed")
    async with asyncio.timeout(60):
        while refused.items() - (await cloud.deliveries(fault_id)).items():
            await asyncio.sleep(0.05)
    assert {
        name: consumer.attempts - began[name] for name, consumer in cloud.consumers.items()
    } == {"doctor": 1, "masakari": 1, "tacker": 1}
    said = '400 Bad Request: {"error": "it did not work"}; given up'
    assert cloud.controller.log().count(said) == 3

    for consumer in cloud.consumers.values():
        consumer.mode = "answer"
    instance, _fault = await cloud.fails()
    await until(lambda: min(cloud.told_of(instance).values()) == 1)


async def end(controller):
    if controller.process.returncode is None:
        await controller.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def inspected(tmp_path):
    """inspected(options of [sink_doctor], masakari={options}): inspector, agent, controller."""

    async with AsyncExitStack() as stack:

        async def start(masakari=None, **options):
            inspector = Receiver(detected_at=time_of_event)
            await inspector.open()
            stack.push_async_callback(inspector.close)
            controller = ControllerProcess(tmp_path, inspector.url)
            controller.add_sink("doctor", url=inspector.url, **options)
            controller.settings.write_text(
                controller.settings.read_text().replace(", log, webhook", "")
            )
            if masakari is not None:
                controller.add_sink("masakari", **masakari)
            await controller.start()
            stack.push_async_callback(end, controller)
            agent = SimulatedAgent(controller.bus_url, "compute-0")
            return inspector, await stack.enter_async_context(agent), controller

        yield start


async def test_what_an_inspector_lost_it_is_told_again_while_it_lasts(inspected):
    inspector, agent, _controller = await inspected(reconcile_interval=0.2)
    statuses = lambda: [body["event"]["details"]["status"] for body in inspector.told]  # noqa: E731
    await agent.raise_all([agent.change("f1")])
    await until(lambda: len(inspector.told) >= 3)
    assert len({json.dumps(body) for body in inspector.told}) == 1  # the same, to the letter
    await agent.raise_all([agent.change("f1", "cleared")])
    await until(lambda: "up" in statuses())
    await asyncio.sleep(1)
    assert statuses().count("up") == 1
    assert statuses()[-1] == "up"


async def test_a_keystone_that_hangs_holds_up_neither_faults_nor_a_stop(inspected):
    keystone = Receiver()
    keystone.mode = "hang"
    await keystone.open()
    inspector, agent, controller = await inspected(
        masakari={
            "auth_type": "password",
            "auth_url": keystone.address,
            "username": "u",
            "password": "p",
            "user_domain_id": "default",
            "project_name": "p",
            "timeout": 50,
        }
    )
    await agent.raise_all([agent.change("f1")])
    await until(lambda: len(inspector.told) == 1 and keystone.attempts >= 1)
    code, took_s = await controller.stop()
    await keystone.close()
    assert (code, took_s < 25) == (0, True)


async def test_how_soon_an_inspector_knows(inspected):
    inspector, agent, controller = await inspected()
    for failing, rounds in ((1, 30), (100, 3)):
        inspector.told.clear()
        inspector.latencies_ms.clear()
        for round_ in range(rounds):
            names = [f"{failing}-{round_}-{number}" for number in range(failing)]
            await agent.raise_all([agent.change(name, instance=name) for name in names])
            heard = failing * (round_ + 1)
            await until(lambda heard=heard: len(inspector.told) == heard)
        found = sorted(inspector.latencies_ms)
        p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
        print(f"{failing} at once, detection to inspector: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        assert p99 < 10_000  # 1,000 are promised, of a machine that others do not share
    async with asyncio.timeout(60):
        while True:
            faults = (await controller.get("/v1/faults"))["faults"]
            stages_ms = faults[0]["stages_ms"]
            if "sink:doctor" in stages_ms:
                break
            await asyncio.sleep(0.05)
    assert 0 < stages_ms["controller"] < stages_ms["stored"] < stages_ms["sink:doctor"]
