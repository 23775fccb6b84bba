"""A RabbitMQ that is killed, frozen, out of memory, or loses a queue."""

import asyncio
import contextlib
import logging
import time
import uuid

import kombu
import pytest

from reachthru.bus import BusUnavailableError, agent_bus, controller_bus
from reachthru.bus.oslo import connection
from reachthru.protocol.agent_bus import FaultAck, FaultChange

pytestmark = pytest.mark.xdist_group("rabbitmq")

DEADLINE_S = 40  # on a busy machine; RabbitMQ itself needs 5 to 10 to start


def fault(seq):
    return FaultChange(
        fault_id=f"fault-{seq}",
        seq=seq,
        status="raised",
        kind="heartbeat_lost",
        severity="critical",
        instance_uuid="uuid",
        instance_name="name",
        host="compute-1",
        raised_at="2026-01-01T00:00:00.000000+00:00",
    )


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def passes(agent, controller, seq):
    """A fault, and its acknowledgement."""
    async with asyncio.timeout(DEADLINE_S):
        await agent.send(fault(seq))
        async for _host, message in controller.messages():
            if message == fault(seq):
                break
        await controller.send("compute-1", FaultAck(seqs=[seq]))
        async for message in agent.messages():
            if message == FaultAck(seqs=[seq]):
                break


@pytest.fixture
async def ends(locked_rabbitmq):
    server = locked_rabbitmq
    agent = agent_bus(server.bus_url, "compute-1", server.locks.door("compute-1"))
    name = f"c-{uuid.uuid4().hex[:8]}"
    controller = controller_bus(server.bus_url, name, server.locks.door("controller-1"))
    agent.told, controller.told = [], []
    agent.on_connection, controller.on_connection = agent.told.append, controller.told.append
    async with agent, controller:
        await until(lambda: agent.connected and controller.connected)
        yield agent, controller


async def test_a_killed_broker_is_noticed_and_joined_again(locked_rabbitmq, ends, caplog):
    agent, controller = ends
    await passes(agent, controller, 1)
    # RabbitMQ 3.10 forgets the leader of a quorum queue that is a second old when it is killed.
    await asyncio.sleep(6)
    await asyncio.to_thread(locked_rabbitmq.kill)
    killed_at = time.monotonic()
    await until(lambda: not agent.connected and not controller.connected)
    assert time.monotonic() - killed_at < 10  # nobody was sending
    await asyncio.to_thread(locked_rabbitmq.start)
    await until(lambda: agent.connected and controller.connected)
    await passes(agent, controller, 2)
    assert agent.told == controller.told == [True, False, True]
    assert len([line for line in caplog.messages if "no broker" in line]) == 2  # one an end
    assert len([line for line in caplog.messages if "is back" in line]) == 2


async def test_a_frozen_broker_fails_senders_within_seconds(locked_rabbitmq, ends, caplog):
    agent, controller = ends
    await asyncio.to_thread(locked_rabbitmq.freeze)
    try:
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(agent.send(fault(seq)) for seq in range(300)), return_exceptions=True
        )
        assert time.monotonic() - started < 5
        assert all(isinstance(outcome, BusUnavailableError) for outcome in outcomes)
        await until(lambda: not controller.connected)
        assert time.monotonic() - started < 10
        assert not agent.offer(fault(1))
    finally:
        await asyncio.to_thread(locked_rabbitmq.thaw)
    await until(lambda: agent.connected and controller.connected)
    await passes(agent, controller, 1000)
    assert any("frozen, out of memory" in line for line in caplog.messages)


async def test_an_alarm_is_said_and_bounded_and_over_when_it_is(locked_rabbitmq, ends, caplog):
    agent, controller = ends
    control = locked_rabbitmq.control
    await asyncio.to_thread(control, "set_vm_memory_high_watermark", "0.00001")
    try:
        await asyncio.sleep(1.5)  # RabbitMQ looks once a second
        started = time.monotonic()
        with pytest.raises(BusUnavailableError):
            for seq in range(3):  # the first makes RabbitMQ block us
                await agent.send(fault(seq))
        assert time.monotonic() - started < 5
        assert any("out of memory or disk" in line for line in caplog.messages)
        # Nor is it thought to be back, for all that it takes connections.
        agent.told.clear()
        await asyncio.sleep(6)
        assert True not in agent.told
    finally:
        await asyncio.to_thread(control, "set_vm_memory_high_watermark", "0.4")
    await until(lambda: agent.connected and controller.connected)
    await passes(agent, controller, 1000)


async def test_connections_that_an_operator_closes_come_back(locked_rabbitmq, ends):
    agent, controller = ends
    await asyncio.to_thread(locked_rabbitmq.control, "close_all_connections", "maintenance")
    async with asyncio.timeout(DEADLINE_S):
        while True:  # they may be back before they were missed
            with contextlib.suppress(BusUnavailableError):
                await agent.send(fault(1))
                break
            await asyncio.sleep(0.05)
    await until(lambda: agent.connected and controller.connected)
    await passes(agent, controller, 2)


async def test_a_queue_that_an_operator_deletes_comes_back(locked_rabbitmq, ends):
    agent, controller = ends
    await asyncio.to_thread(
        locked_rabbitmq.control, "delete_queue", "-p", "reachthru", "reachthru.agent.compute-1"
    )
    async with asyncio.timeout(DEADLINE_S):
        while True:  # as a controller repeats what had no effect
            await controller.send("compute-1", FaultAck(seqs=[1]))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await anext(agent.messages())
                    break


async def test_a_queue_of_the_work_that_takes_nothing_is_made_anew(
    locked_rabbitmq, ends, monkeypatch, caplog
):
    """As one without a leader, which RabbitMQ 3.10 makes of a queue that is not a second old when
    the only node is killed. Nobody else's connection would tell."""
    agent, controller = ends
    await passes(agent, controller, 1)
    monkeypatch.setattr(connection, "LEADERLESS_S", 4.0)
    await asyncio.to_thread(
        locked_rabbitmq.control, "eval", "sys:suspend('reachthru_reachthru.work')."
    )
    with pytest.raises(BusUnavailableError):
        await agent.send(fault(2))
    async with asyncio.timeout(DEADLINE_S):
        while True:  # as an agent repeats what was not acknowledged
            with contextlib.suppress(BusUnavailableError, TimeoutError):
                async with asyncio.timeout(4):
                    await passes(agent, controller, 3)
                    break
            await asyncio.sleep(0.1)
    (said,) = [line for line in caplog.messages if "reachthru.work" in line]
    assert "deleted and made anew" in said


async def test_junk_on_the_exchange_costs_itself_only(rabbitmq_server, caplog):
    """No message of oslo.messaging's at all."""
    caplog.set_level(logging.INFO)
    vhost = rabbitmq_server.make_vhost()
    url = f"rabbit://127.0.0.1:{rabbitmq_server.port}/{vhost}"
    agent, controller = agent_bus(url, "compute-1"), controller_bus(url, "one")
    junk = [b"", b"\xff", b"[]", b'"text"', b"{}", b'{"oslo.version": "9.0", "oslo.message": "x"}']
    junk += [
        b'{"oslo.version": "2.0", "oslo.message": "%s"}' % text for text in (b"7", b"[]", b"{")
    ]

    def publish():
        address = f"amqp://guest:guest@127.0.0.1:{rabbitmq_server.port}/{vhost}"
        with kombu.Connection(address) as connection:
            producer = connection.Producer()
            for body in junk:
                for kind in ("application/json", "application/x-python-serialize", "text/plain"):
                    producer.publish(
                        body,
                        exchange="amq.topic",
                        routing_key="reachthru.1.agent.compute-1.up.info",
                        content_type=kind,
                        content_encoding="utf-8",
                    )

    async with agent, controller:
        await until(lambda: agent.connected and controller.connected)
        await asyncio.to_thread(publish)
        await passes(agent, controller, 1)
        assert controller.connected
    assert len(caplog.messages) < 20
