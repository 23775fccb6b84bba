"""A fault at a real controller, to an alarm in `/v1/alarm` of a real Vitrage."""

import asyncio
import time

import kombu
import pytest
import yaml

from lab.controllers import Agent, Webhook, until
from lab.proxy import Proxy
from lab.vitrage import HOST, TOPIC, event, uuids
from reachthru.bus import BusDoor, topic_notifier

pytestmark = pytest.mark.xdist_group("vitrage")

BUS = "[sinks]\nenabled = log, vitrage\n[sink_vitrage]\nurl = {bus}\n"
EVENT_API = (
    "[sinks]\nenabled = log, vitrage\n[sink_vitrage]\nvia = event_api\nauth_type = none\n"
    "endpoint_override = {api}\n"
)


async def alarms_on(vitrage, resources):
    """Those of faults, by instances' uuids or hosts' names."""
    found = await asyncio.to_thread(vitrage.alarms)
    return {
        alarm["resource_id"]: alarm
        for alarm in found
        if alarm["vitrage_type"] == "reachthru" and alarm["resource_id"] in resources
    }


async def settle(vitrage, wanted, among, deadline_s=60):
    """Until exactly `wanted` of `among` have an alarm; returns the alarms."""
    found = {}
    try:
        async with asyncio.timeout(deadline_s):
            while set(found := await alarms_on(vitrage, among)) != set(wanted):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"alarms on {sorted(found)}, wanted on {sorted(wanted)}") from None
    return found


async def first_seen(vitrage, instances, deadline_s=120):
    """Seconds since 1970 at which each had an alarm first."""
    seen = {}
    async with asyncio.timeout(deadline_s):
        while len(seen) < len(instances):
            found = await alarms_on(vitrage, instances)
            for instance in found:
                seen.setdefault(instance, time.time())
    return seen


async def told_straight(vitrage, instances):
    """Vitrage's own time for faults that are put on its bus: seconds until each alarm."""
    notifier = topic_notifier(
        vitrage.bus_url,
        exchange="vitrage",
        topic=TOPIC,
        publisher="test",
        door=BusDoor(),
    )
    began = time.time()
    await asyncio.gather(
        *(notifier.notify("reachthru.fault", event(instance=instance)) for instance in instances)
    )
    seen = await first_seen(vitrage, instances)
    await notifier.close()
    return [moment - began for moment in seen.values()]


def told_ms(faults):
    """Detection to Vitrage's bus, of each."""
    return sorted(fault["stages_ms"]["sink:vitrage"] for fault in faults)


async def test_a_fault_is_an_alarm_and_its_clearing_ends_it(vitrage, mosquitto, make_controller):
    """Two VMs of one host: two alarms, and the end of one leaves the other."""
    controller = await make_controller(BUS.format(bus=vitrage.bus_url))
    first, second = instances = uuids(2)
    async with Agent(mosquitto.url, "compute-0", instances) as agent:
        began = time.time()
        for instance in instances:
            agent.change(instance, "raised")
        seen = await first_seen(vitrage, instances)
        agent.change(first, "cleared")
        alarms = await settle(vitrage, [second], instances)
        own_s = await told_straight(vitrage, uuids(1))
    print(
        f"detection to alarm {max(seen.values()) - began:.2f} s, Vitrage alone {own_s[0]:.2f} s,"
        f" told after {told_ms((await controller.get('/v1/faults'))['faults'])} ms"
    )
    assert alarms[second]["vitrage_operational_severity"] == "CRITICAL"
    assert alarms[second]["host"] == "compute-0"


async def test_instances_that_fail_one_by_one_are_alarms_as_soon_as_vitrage_can(
    vitrage, mosquitto, make_controller
):
    controller = await make_controller(BUS.format(bus=vitrage.bus_url))
    instances = uuids(20)
    whole_s, own_s = [], []
    async with Agent(mosquitto.url, "compute-0", instances) as agent:
        for instance in instances:
            began = time.time()
            agent.change(instance, "raised")
            whole_s += [
                moment - began for moment in (await first_seen(vitrage, [instance])).values()
            ]
            own_s += await told_straight(vitrage, uuids(1))
        faults = (await controller.get("/v1/faults?active=true"))["faults"]
    told = told_ms(faults)
    print(
        f"one by one: told p50 {told[10]:.0f}, worst {told[-1]:.0f} ms; alarm p50"
        f" {sorted(whole_s)[10]:.2f}, worst {max(whole_s):.2f} s; Vitrage alone p50"
        f" {sorted(own_s)[10]:.2f}, worst {max(own_s):.2f} s"
    )
    assert len(told) == 20


async def test_a_hundred_instances_that_fail_at_once_are_a_hundred_alarms(
    vitrage, mosquitto, make_controller
):
    controller = await make_controller(BUS.format(bus=vitrage.bus_url))
    own_s = sorted(await told_straight(vitrage, uuids(100)))
    instances = uuids(100)
    async with Agent(mosquitto.url, "compute-0", instances) as agent:
        began = time.time()
        for instance in instances:
            agent.change(instance, "raised")
        seen = await first_seen(vitrage, instances)
        whole_s = sorted(moment - began for moment in seen.values())
        faults = (await controller.get("/v1/faults?active=true"))["faults"]
        for instance in instances:
            agent.change(instance, "cleared")
        await settle(vitrage, [], instances)
    told = told_ms(faults)
    print(
        f"100 at once: told p50 {told[50]:.0f} p99 {told[98]:.0f} ms; alarm p50 {whole_s[50]:.2f}"
        f" p99 {whole_s[98]:.2f} s; Vitrage alone p50 {own_s[50]:.2f} p99 {own_s[98]:.2f} s"
    )
    assert len(told) == 100
    assert {"stored", "controller"} <= set(faults[0]["stages_ms"])


async def test_a_lost_host_is_an_alarm_on_it_and_its_instances_until_it_is_back(
    vitrage, templates, mosquitto, make_controller
):
    await make_controller(BUS.format(bus=vitrage.bus_url) + "[hosts]\nlost_after_s = 2\n")
    (instance,) = instances = uuids(1)
    await vitrage.tell_of_instance(instance, HOST)
    async with Agent(mosquitto.url, HOST, instances) as agent:
        await agent.vanish()
        alarms = await settle(vitrage, [HOST], [HOST])
        assert alarms[HOST]["name"] == "host_lost"
        await deduced(vitrage, HOST, set(), "ERROR")
        await deduced(vitrage, instance, {"instance is on a lost host"}, "ERROR")
    async with Agent(mosquitto.url, HOST, instances):
        await settle(vitrage, [], [HOST])
        await deduced(vitrage, instance, set(), "OK")


async def test_templates_deduce_what_faults_mean(vitrage, templates, mosquitto, make_controller):
    """For the instance, and for its server group."""
    static = yaml.safe_load(vitrage.group.read_text())["definitions"]
    group, sick, _well = (entity["id"] for entity in static["entities"])
    await vitrage.tell_of_instance(sick, "compute-0")
    await make_controller(BUS.format(bus=vitrage.bus_url))
    async with Agent(mosquitto.url, "compute-0", [sick]) as agent:
        agent.change(sick, "raised")
        await deduced(vitrage, sick, {"instance is lost inside"}, "ERROR")
        await deduced(vitrage, group, {"server group has lost a member"}, "SUBOPTIMAL")
        agent.change(sick, "cleared")
        await deduced(vitrage, sick, set(), "OK")
        await deduced(vitrage, group, set(), "OK")


async def deduced(vitrage, resource, names, state, deadline_s=60):
    """Until these are the deduced alarms on it, and its state is that."""
    found = None
    try:
        async with asyncio.timeout(deadline_s):
            while found != (names, state):
                found = await asyncio.to_thread(what_is_known, vitrage, resource)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{found}, wanted {(names, state)}") from None


def what_is_known(vitrage, resource):
    resources = vitrage.ask("GET", "/v1/resources?all_tenants=1")
    for item in resources:
        if item["id"] == resource:
            deduced = {
                alarm["name"]
                for alarm in vitrage.alarms()
                if (alarm["vitrage_type"], alarm["vitrage_resource_id"])
                == ("vitrage", item["vitrage_id"])
            }
            return deduced, item["vitrage_operational_state"]
    return None


async def test_a_vitrage_that_was_away_knows_what_it_missed(vitrage, mosquitto, make_controller):
    """Even what was lost on its bus: a raise, and a clearing."""
    await make_controller(BUS.format(bus=vitrage.bus_url) + "reconcile_interval = 0\n")
    over, still, new = instances = uuids(3)
    async with Agent(mosquitto.url, "compute-0", instances) as agent:
        agent.change(over, "raised")
        agent.change(still, "raised")
        await settle(vitrage, [over, still], instances)
        await asyncio.to_thread(vitrage.stop, "graph")
        agent.change(over, "cleared")
        agent.change(new, "raised")
        await until(lambda: not agent.waiting)
        assert await asyncio.to_thread(purge, vitrage.bus_url) >= 2
        await asyncio.to_thread(vitrage.start, "graph")
        await settle(vitrage, [still, new], instances)


def purge(bus_url):
    """Loses what waits for Vitrage, once there are two messages; returns how many were lost."""
    queue = f"{TOPIC}.info"
    with kombu.Connection(bus_url.replace("rabbit:", "amqp:")) as connection:
        channel = connection.channel()
        deadline = time.monotonic() + 60
        while channel.queue_declare(queue, passive=True).message_count < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return channel.queue_purge(queue)


async def test_a_controller_that_was_killed_tells_what_happened_meanwhile(
    vitrage, mosquitto, make_controller
):
    controller = await make_controller(BUS.format(bus=vitrage.bus_url))
    over, new = instances = uuids(2)
    async with Agent(mosquitto.url, "compute-0", instances) as agent:
        agent.change(over, "raised")
        await settle(vitrage, [over], instances)
        await controller.kill()
        agent.change(over, "cleared")
        agent.change(new, "raised")
        await controller.start()
        await settle(vitrage, [new], instances)


async def test_a_bus_that_hangs_and_goes_loses_nothing_and_holds_up_nobody(
    vitrage, rabbitmq_server, mosquitto, make_controller
):
    way = Proxy(rabbitmq_server.port)
    await way.open()
    first, second, third = instances = uuids(3)
    url = f"rabbit://guest:guest@127.0.0.1:{way.port}/{vitrage.vhost}"
    async with Webhook() as webhook, Agent(mosquitto.url, "compute-0", instances) as agent:
        await make_controller(
            f"{BUS.format(bus=url).replace('log, vitrage', 'webhook, vitrage')}"
            f"[sink_webhook]\nurl = {webhook.url}\n"
        )
        agent.change(first, "raised")
        await settle(vitrage, [first], instances)
        way.hold()
        agent.change(second, "raised")
        agent.change(first, "cleared")
        await until(lambda: len(webhook.told) == 3)
        await way.cut()
        agent.change(third, "raised")
        await until(lambda: len(webhook.told) == 4)
        assert set(await alarms_on(vitrage, instances)) == {first}
        way.release()
        await way.open()
        await settle(vitrage, [second, third], instances)
    await way.cut()


async def test_an_event_api_that_says_yes_and_loses_it_is_told_again(
    vitrage, mosquitto, make_controller
):
    (instance,) = instances = uuids(1)
    async with Forgetful(vitrage.url) as api, Agent(mosquitto.url, "c", instances) as agent:
        settings = EVENT_API.format(api=api.url) + "reconcile_interval = 1\n"
        controller = await make_controller(settings)
        agent.change(instance, "raised")
        await until(lambda: api.lost)
        faults = (await controller.get("/v1/faults"))["faults"]
        api.forgets = False
        await settle(vitrage, [instance], instances)
        agent.change(instance, "cleared")
        await settle(vitrage, [], instances)
    assert [fault["instance_uuid"] for fault in faults] == [instance]


class Forgetful:
    """Vitrage's event API as it is while something inside it fails; then the real one."""

    def __init__(self, url):
        self._far = url.rpartition(":")[2]
        self.forgets, self.lost = True, 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error):
        self._server.close()

    async def _serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.decode().lower().split("content-length: ")[1].split("\r\n")[0]
        body = await reader.readexactly(int(length))
        if self.forgets:
            self.lost += 1
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnull"
        else:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
            far_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
            answer = await far_reader.read()
            far_writer.close()
        writer.write(answer)
        writer.close()
