"""Faults as MQTT messages, over a real Mosquitto."""

import asyncio
import json

import aiomqtt
import pytest

from reachthru.bus import BusDoor, BusUnavailableError
from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks.mqtt import MqttSettings, MqttSink
from servers.mosquitto import MosquittoServer

DEADLINE_S = 15


def fault(instance_uuid, host="compute-0"):
    return Fault(
        id="fault-1",
        kind="unhealthy",
        severity="major",
        status="raised",
        instance_uuid=instance_uuid,
        instance_name="db",
        host=host,
        raised_at="2026-01-01T00:00:00.000000+00:00",
        cleared_at=None,
        detail="disk full: /var \u26a0",
        corrective_action="log",
        stages_ms={"detected": 0.0},
        deliveries=[],
    )


@pytest.fixture
def broker(tmp_path):
    with MosquittoServer(tmp_path) as server:
        yield server


def sink(broker):
    return MqttSink(MqttSettings(url=broker.url, door=BusDoor(), topic="site-7/faults"))


async def deliver(sink, fault):
    """Until it is taken, as the controller does."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await sink.deliver(fault)
            except BusUnavailableError:
                await asyncio.sleep(0.05)


async def test_a_fault_is_published_under_its_instance_or_its_host(broker):
    async with aiomqtt.Client("127.0.0.1", broker.port) as consumer, sink(broker) as mqtt:
        await consumer.subscribe("site-7/faults/#", qos=1)
        await deliver(mqtt, fault("uuid-1"))
        await deliver(mqtt, fault("", host="compute-9"))
        async with asyncio.timeout(DEADLINE_S):
            first, second = [await anext(consumer.messages) for _ in range(2)]
    assert [str(first.topic), str(second.topic)] == [
        "site-7/faults/uuid-1",
        "site-7/faults/compute-9",
    ]
    told = json.loads(first.payload)
    assert (told["id"], told["status"], told["detail"]) == (
        "fault-1",
        "raised",
        "disk full: /var ⚠",
    )


async def test_without_a_broker_a_fault_is_not_taken_and_goes_when_it_is_back(broker):
    async with sink(broker) as mqtt:
        await deliver(mqtt, fault("uuid-1"))
        broker.kill()
        with pytest.raises(BusUnavailableError):
            await mqtt.deliver(fault("uuid-1"))
        broker.start()
        await deliver(mqtt, fault("uuid-1"))
