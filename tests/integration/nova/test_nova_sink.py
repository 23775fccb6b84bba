"""Nova does about faults what [sink_nova] says: a real Nova, which keeps a history of it."""

import asyncio
import contextlib
import logging
import uuid
from datetime import UTC, datetime

import pytest
from aiohttp import ClientSession, web

from lab.controllers import Agent, Controller, Mosquitto
from reachthru import service
from reachthru.controller_server import sink_health
from reachthru.controller_server.delivery import DeliveryWorker
from reachthru.controller_server.nova.settings import options as nova_options
from reachthru.controller_server.sinks.nova import NovaSink
from reachthru.controller_server.sinks.nova import policy as nova_policy
from reachthru.controller_server.store.changes import Arrived
from reachthru.controller_server.store.database import Database
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.outages import Loss
from reachthru.controller_server.store.queries import FaultFilter
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import CATALOGUE, FaultKind, FaultStatus

pytestmark = pytest.mark.xdist_group("nova")  # one Nova and one RabbitMQ for all

QUIET_S = 0.5


class Front:
    """Nova's door: what passes is noted, and a test may say what is answered instead."""

    def __init__(self, nova):
        self._nova = nova
        self.asked = []
        self.answer = None  # answer(request, pass_on) -> response

    async def __aenter__(self):
        self._session = ClientSession()
        app = web.Application()
        app.router.add_route("*", "/v2.1/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v2.1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()
        await self._session.close()

    @property
    def posts(self):
        return [asked for asked in self.asked if asked[0] != "GET"]

    async def _serve(self, request):
        body = await request.read()
        self.asked.append((request.method, request.match_info["path"], body.decode()))

        async def pass_on():
            url = f"{self._nova.url}/{request.match_info['path']}?{request.query_string}"
            headers = {
                key: value for key, value in request.headers.items() if key.lower() != "host"
            }
            async with self._session.request(
                request.method, url, data=body, headers=headers
            ) as answer:
                kept = ("content-type", "x-openstack-request-id", "date")
                return web.Response(
                    status=answer.status,
                    body=await answer.read(),
                    headers={k: v for k, v in answer.headers.items() if k.lower() in kept},
                )

        return await (self.answer(request, pass_on) if self.answer else pass_on())


class Sinking:
    """The sink at work, on a database of its own."""

    def __init__(self, ledger, database):
        self.ledger = ledger
        self._database = database
        self._seq = 0

    async def raise_fault(self, server, kind="heartbeat_lost", host=None, **values):
        fault_id = values.pop("fault_id", uuid.uuid4().hex)
        await self._add(fault_id, "raised", kind, server, host or server.compute_host, values)
        return fault_id

    async def clear(self, fault_id, server, kind="heartbeat_lost", host=None):
        await self._add(fault_id, "cleared", kind, server, host or server.compute_host, {})

    async def lose_host(self, host, instances):
        fault_id = uuid.uuid4().hex
        change = self._change(fault_id, "raised", "host_lost", None, host, {})
        await self.ledger.lose_hosts(
            [Loss(Arrived(change, datetime.now(UTC)), instances)], "the leader"
        )
        return fault_id

    async def _add(self, fault_id, status, kind, server, host, values):
        change = self._change(fault_id, status, kind, server, host, values)
        await self.ledger.add([Arrived(change, datetime.now(UTC))])

    def _change(self, fault_id, status, kind, server, host, values):
        self._seq += 1
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        return FaultChange(
            **{
                "fault_id": fault_id,
                "seq": self._seq,
                "status": FaultStatus(status),
                "kind": FaultKind(kind),
                "severity": CATALOGUE[FaultKind(kind)].severity,
                "instance_uuid": server.id if server else "",
                "instance_name": "vm" if server else "",
                "host": host,
                "raised_at": now,
                "cleared_at": now if status == "cleared" else None,
                "detail": "no answer",
            }
            | values
        )

    async def delivery(self, fault_id):
        faults = await self.ledger.faults(FaultFilter(limit=10_000))
        return next(fault.deliveries[0] for fault in faults if fault.id == fault_id)

    async def settled(self, *fault_ids):
        async with asyncio.timeout(40):
            for fault_id in fault_ids:
                while (await self.delivery(fault_id)).state == "pending":
                    await asyncio.sleep(0.02)

    async def held(self, fault_id, why):
        async with asyncio.timeout(40):
            while why not in ((await self.delivery(fault_id)).last_error or ""):
                await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def short_rests(monkeypatch):
    monkeypatch.setattr(sink_health, "BACKOFF_MAX_S", 0.5)
    for name in ("LIMIT_REST_S", "COMPUTE_REST_S"):
        monkeypatch.setattr(nova_policy, name, 0.3)


@pytest.fixture
async def front(nova):
    async with Front(nova) as front:
        yield front


@pytest.fixture
async def sinking(tmp_path, front):
    """sinking(**[sink_nova]): a sink that tells the front's Nova."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**section):
            database = Database(f"sqlite:///{tmp_path}/controller.sqlite")
            await database.open()
            stack.push_async_callback(database.close)
            return await at_work(stack, tmp_path, front, database, section)

        yield start


async def at_work(stack, folder, front, database, section):
    path = folder / "controller.conf"
    lines = "".join(f"{key} = {value}\n" for key, value in section.items())
    path.write_text(
        f"[nova]\nauth_type = admin_token\nendpoint = {front.url}\ntoken = admin:{'b' * 32}\n"
        f"endpoint_override = {front.url}\ntimeout = 2\n[sink_nova]\n{lines}"
    )
    conf = service.load(path, {"nova": nova_options(), "sink_nova": NovaSink.OPTIONS})
    sink = NovaSink.configured(path, conf)
    sink.remember_in(database)
    await stack.enter_async_context(sink)
    ledger = Ledger(database, ["nova"], uuid.uuid4().hex)
    running = asyncio.create_task(DeliveryWorker(sink, ledger, lambda _outcome: None).run())

    async def stop():
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    stack.push_async_callback(stop)
    return Sinking(ledger, database)


async def history(nova, server):
    """What was done to it, the oldest first."""
    path = f"/servers/{server.id}/os-instance-actions"
    answer = await asyncio.to_thread(nova.compute().get, path, microversion="2.60")
    return [one["action"] for one in reversed(answer.json()["instanceActions"])]


async def booted(nova):
    return await asyncio.to_thread(nova.server)


async def settled(nova, server, state):
    return await asyncio.to_thread(nova.settled, server, state)


async def test_a_faulty_instance_is_in_error_at_once(sinking, nova, recorder, until, caplog):
    caplog.set_level(logging.INFO, logger="reachthru")
    sink = await sinking(actions="reset_state")
    server = await booted(nova)

    fault = await sink.raise_fault(server)

    await sink.settled(fault)
    assert (await settled(nova, server, "error")).vm_state == "error"
    # What Aodh's alarms wait for.
    await until(lambda: recorder.at("compute.instance.update", server.id) is not None)
    assert await history(nova, server) == ["create", "resetState"]
    (said,) = [r.getMessage() for r in caplog.records if fault in r.getMessage()]
    assert f"({server.id}) on {server.compute_host}: reset to error" in said
    assert "since heartbeat_lost was raised: no answer" in said
    assert "req-" in said


@pytest.mark.parametrize(("asked", "state"), [("reboot", "active"), ("stop", "stopped")])
async def test_what_the_guest_asks_for_is_done_and_only_that(sinking, nova, asked, state):
    sink = await sinking(actions="corrective")
    server, other = await booted(nova), await booted(nova)

    faults = [
        await sink.raise_fault(server, corrective_action=asked),
        await sink.raise_fault(other, corrective_action="log"),
    ]

    await sink.settled(*faults)
    await settled(nova, server, state)
    assert await history(nova, server) == ["create", asked]
    assert await history(nova, other) == ["create"]


async def test_a_reboot_comes_after_the_error_and_neither_is_done_again(sinking, nova):
    sink = await sinking(actions="reset_state, corrective")
    server = await booted(nova)
    fault = await sink.raise_fault(server, kind="unhealthy", corrective_action="reboot")
    await sink.settled(fault)
    await settled(nova, server, "active")

    for _ in range(3):
        assert await sink.ledger.repeat_active("nova", 0, 10) == (1, None)
        await sink.settled(fault)

    assert await history(nova, server) == ["create", "resetState", "reboot"]


async def test_an_instance_that_somebody_stopped_or_deleted_is_left_alone(sinking, nova, caplog):
    caplog.set_level(logging.INFO, logger="reachthru")
    sink = await sinking(actions="reset_state, corrective")
    stopped, deleted, moved = [await booted(nova) for _ in range(3)]
    await asyncio.to_thread(nova.compute().stop_server, stopped)
    await settled(nova, stopped, "stopped")
    await asyncio.to_thread(nova.compute().delete_server, deleted)
    await asyncio.to_thread(nova.compute().wait_for_delete, deleted)

    faults = [
        await sink.raise_fault(stopped, corrective_action="reboot"),
        await sink.raise_fault(deleted, corrective_action="reboot"),
        await sink.raise_fault(moved, corrective_action="reboot", host="compute-9"),
    ]

    await sink.settled(*faults)
    assert await history(nova, stopped) == ["create", "stop"]
    assert await history(nova, moved) == ["create"]
    for fault, why in zip(
        faults, ("Nova says stopped", "Nova has no such instance", "Nova has it on"), strict=True
    ):
        assert any(fault in line and why in line for line in caplog.messages), why


async def test_a_storm_leaves_the_rest_of_the_cloud_alone(sinking, nova, front):
    sink = await sinking(actions="reset_state", max_per_cloud=1)
    servers = [await booted(nova) for _ in range(3)]

    faults = [await sink.raise_fault(server) for server in servers]

    async def waiting():
        deliveries = [await sink.delivery(fault) for fault in faults]
        return [d for d in deliveries if d.state == "pending" and "max_per_cloud" in str(d)]

    async with asyncio.timeout(40):
        while len(await waiting()) < 2:
            await asyncio.sleep(0.02)
    assert len(front.posts) == 1
    # What waits is no longer acted on once its fault is over.
    for fault, server in zip(faults, servers, strict=True):
        await sink.clear(fault, server)
    await sink.settled(*faults)
    assert len(front.posts) == 1


async def test_a_reset_is_undone_when_it_was_ours_and_nobody_acted_since(sinking, nova, caplog):
    caplog.set_level(logging.INFO, logger="reachthru")
    sink = await sinking(actions="reset_state", undo="reset_state")
    ours, touched, theirs = [await booted(nova) for _ in range(3)]
    await asyncio.to_thread(nova.compute().reset_server_state, theirs, "error")
    servers = (ours, touched, theirs)
    faults = [await sink.raise_fault(server) for server in servers]
    await sink.settled(*faults)
    await asyncio.to_thread(nova.compute().reset_server_state, touched, "active")
    await asyncio.to_thread(nova.compute().reset_server_state, touched, "error")

    for fault, server in zip(faults, servers, strict=True):
        await sink.clear(fault, server)

    await sink.settled(*faults)
    assert (await settled(nova, ours, "active")).vm_state == "active"
    assert (await settled(nova, touched, "error")).vm_state == "error"
    assert (await settled(nova, theirs, "error")).vm_state == "error"


async def test_an_instance_stays_in_error_until_its_last_fault_is_over(sinking, nova):
    sink = await sinking(actions="reset_state", undo="reset_state")
    server = await booted(nova)
    first = await sink.raise_fault(server)
    await sink.settled(first)
    second = await sink.raise_fault(server, kind="unhealthy")
    await sink.settled(second)

    await sink.clear(first, server)
    await sink.settled(first)
    assert (await settled(nova, server, "error")).vm_state == "error"
    await sink.clear(second, server, kind="unhealthy")
    await sink.settled(second)

    assert (await settled(nova, server, "active")).vm_state == "active"


def compute_services(nova):
    answer = nova.compute().get("/os-services?binary=nova-compute", microversion="2.60").json()
    return {found["host"]: found["forced_down"] for found in answer["services"]}


async def test_a_lost_host_is_forced_down_once_its_nova_compute_is_silent_too(sinking, nova):
    # In this Nova, nova-compute reports each second.
    sink = await sinking(actions="force_down, reset_state", undo="force_down", compute_silent_s="4")
    server = await booted(nova)
    host = server.compute_host
    lost = await sink.lose_host(host, [server.id])
    try:
        await sink.held(lost, "only our agent there is silent")
        # A fault that comes of it is no cause to act.
        fault = await sink.raise_fault(server)
        await sink.settled(fault)
        await asyncio.to_thread(nova.stop, host)
        await sink.settled(lost)
        assert (await asyncio.to_thread(compute_services, nova))[host] is True

        await sink.clear(lost, None, kind="host_lost", host=host)
        await sink.held(lost, "it may not be back yet")
        assert (await asyncio.to_thread(compute_services, nova))[host] is True
        await asyncio.to_thread(nova.restart, host)
        await sink.settled(lost)
        assert (await asyncio.to_thread(compute_services, nova))[host] is False
    finally:
        await asyncio.to_thread(nova.restart, host)
        await asyncio.to_thread(nova.force_down, host, False)
    assert await history(nova, server) == ["create"]


async def test_what_a_sick_nova_does_not_take_is_done_when_it_is_well(sinking, nova, front):
    sink = await sinking(actions="corrective")
    server = await booted(nova)
    answers = [
        web.Response(status=502),
        web.Response(status=403),  # our role is not admin yet
        web.Response(text="<html>welcome</html>"),
        web.Response(status=404),  # not Nova's own word
        web.json_response({"servers": []}),
        None,  # too late
    ]

    async def answer(request, pass_on):
        if not answers:
            return await pass_on()
        found = answers.pop(0)
        if found is None:
            await asyncio.sleep(3)
        return found or await pass_on()

    front.answer = answer
    fault = await sink.raise_fault(server, corrective_action="reboot")

    await sink.settled(fault)
    assert (await sink.delivery(fault)).attempts > 5
    assert await history(nova, server) == ["create", "reboot"]


async def test_a_yes_that_is_never_heard_makes_no_second_reboot(sinking, nova, front):
    sink = await sinking(actions="corrective")
    server = await booted(nova)
    lost = []

    async def answer(request, pass_on):
        answer = await pass_on()
        if request.method == "POST":
            lost.append(answer.status)
            request.transport.abort()
        return answer

    front.answer = answer
    fault = await sink.raise_fault(server, corrective_action="reboot")

    await sink.settled(fault)
    await settled(nova, server, "active")
    assert lost == [202]
    assert await history(nova, server) == ["create", "reboot"]


async def test_a_nova_that_says_no_for_good_is_heard(sinking, nova, front):
    sink = await sinking(actions="corrective")
    server = await booted(nova)

    async def answer(request, pass_on):
        return await pass_on() if request.method == "GET" else web.HTTPBadRequest(text="never")

    front.answer = answer
    fault = await sink.raise_fault(server, corrective_action="reboot")

    await sink.settled(fault)
    delivery = await sink.delivery(fault)
    assert delivery.state == "failed"
    assert "never" in delivery.last_error


async def test_a_controller_killed_while_nova_reboots_does_it_once(nova, front, tmp_path, until):
    server = await booted(nova)
    killed = asyncio.Event()
    with Mosquitto(tmp_path) as broker:
        controller = Controller(
            tmp_path / "controller",
            f"[bus]\nurl = {broker.url}\n"
            f"[database]\nconnection = sqlite:///{tmp_path}/controller.sqlite\n"
            "[sinks]\nenabled = nova\n[sink_nova]\nactions = corrective\n"
            f"[nova]\nauth_type = admin_token\nendpoint = {front.url}\ntimeout = 1\n"
            f"token = admin:{'b' * 32}\nendpoint_override = {front.url}\n",
        )

        async def answer(request, pass_on):
            answer = await pass_on()
            if request.method == "POST" and not killed.is_set():
                await controller.kill()  # Nova has begun, and nobody has heard it
                killed.set()
            return answer

        front.answer = answer
        await controller.start()
        async with Agent(broker.url, server.compute_host, [server.id]) as agent:
            agent.change(server.id, "raised", corrective_action="reboot")
            await asyncio.wait_for(killed.wait(), 40)
            await controller.start()

            async def done():
                fault = (await controller.get("/v1/faults"))["faults"][0]
                return fault["deliveries"][0]["state"] == "done"

            async with asyncio.timeout(60):
                while not await done():
                    await asyncio.sleep(0.1)
        await controller.stop()
    await settled(nova, server, "active")
    assert await history(nova, server) == ["create", "reboot"]
    assert "begun before" in controller.log()
