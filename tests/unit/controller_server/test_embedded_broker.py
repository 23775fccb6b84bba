"""What the embedded broker adds to amqtt: it survives its clients."""

import asyncio
import logging
import os
import random
import socket
import struct

import pytest

from reachthru.bus import agent_bus, controller_bus
from reachthru.controller_server import embedded_broker
from reachthru.controller_server.embedded_broker import EmbeddedBroker
from reachthru.protocol.agent_bus import AgentOffline, AgentReport, ReportRequest, encode

DEADLINE_S = 20


@pytest.fixture
async def broker():
    async with EmbeddedBroker(0) as running:
        running.url = f"mqtt://127.0.0.1:{running.port}"
        yield running


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def text(words):
    return struct.pack(">H", len(words.encode())) + words.encode()


def packet(kind, body):
    assert len(body) < 128 * 128
    rest, digit = divmod(len(body), 128)
    return bytes([kind, digit | 128, rest]) + body if rest else bytes([kind, digit]) + body


async def connect(broker, name, keepalive_s=0, will=None):
    """By hand, since no proper client behaves as badly as these tests want."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    flags = 0x02 if will is None else 0x02 | 0x04 | 0x08
    body = text("MQTT") + bytes([4, flags]) + struct.pack(">H", keepalive_s) + text(name)
    if will is not None:
        body += text(will[0]) + struct.pack(">H", len(will[1])) + will[1]
    writer.write(packet(0x10, body))
    assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    return reader, writer


async def ended(reader):
    """The broker ended this connection."""
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


async def works(broker):
    """An agent and a controller can talk."""
    async with controller_bus(broker.url, "c") as controller, agent_bus(broker.url, "h") as agent:
        await until(lambda: controller.connected and agent.connected)
        await controller.send("h", ReportRequest())
        async with asyncio.timeout(DEADLINE_S):
            async for message in agent.messages():
                return message == ReportRequest()
    return False


async def test_a_port_that_is_taken_is_said_at_once():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        await EmbeddedBroker(other.getsockname()[1]).__aenter__()


async def test_a_message_does_not_wait_for_the_acknowledgement_of_another(broker):
    listeners = broker._server.sockets
    assert all(listener.proto == socket.IPPROTO_TCP for listener in listeners)


@pytest.mark.parametrize("pieces", [1, 3])  # a CONNECT may come a few bytes at a time
async def test_a_version_that_it_does_not_speak_is_refused_as_that_version_says(broker, pieces):
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    connect_5 = packet(0x10, text("MQTT") + b"\x05\x02\x00\x3c\x00" + text("five"))
    for start in range(0, len(connect_5), len(connect_5) // pieces):
        writer.write(connect_5[start : start + len(connect_5) // pieces])
        await asyncio.sleep(0.01)
    async with asyncio.timeout(DEADLINE_S):
        # MQTT 5.0, section 3.2: CONNACK, no session, unsupported protocol version, no properties
        assert await reader.readexactly(5) == b"\x20\x03\x00\x84\x00"
    writer.close()
    assert await works(broker)


async def test_a_connection_that_only_looks_is_no_trouble(broker, caplog):
    for _ in range(3):
        _reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.close()
    assert await works(broker)
    assert not [line for line in caplog.messages if "connection failed" in line]


async def test_garbage_costs_its_own_connection_only(broker):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    openings = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\x7f",
        b"\x30\xff\xff\xff\x7f" + b"x" * 1000,
        b"\x00" * 1000,
        *(chance.randbytes(2000) for _ in range(20)),
    ]
    for opening in openings:
        _reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(opening)
        await asyncio.sleep(0)
        writer.close()
    for opening in openings:
        _reader, writer = await connect(broker, f"garbler-{os.urandom(4).hex()}")
        writer.write(opening)
        await asyncio.sleep(0)
        writer.transport.abort()
    assert await works(broker)


async def test_a_packet_too_long_to_be_a_message_ends_its_connection(broker):
    reader, writer = await connect(broker, "long")
    writer.write(b"\x30\xff\xff\xff\x7f" + text("topic") + b"x" * 1000)
    await ended(reader)
    assert await works(broker)


async def test_a_client_that_falls_silent_is_gone_and_its_will_is_published(broker, monkeypatch):
    will = encode(AgentOffline(host="frozen", clean=False))
    async with controller_bus(broker.url, "c") as controller:
        await until(lambda: controller.connected)
        monkeypatch.setattr(embedded_broker, "SWEEP_INTERVAL_S", 0.1)
        _reader, writer = await connect(
            broker, "frozen", keepalive_s=1, will=("reachthru/1/agent/frozen/news", will)
        )
        async with asyncio.timeout(DEADLINE_S):
            async for host, message in controller.messages():
                assert (host, message) == ("frozen", AgentOffline(host="frozen", clean=False))
                break
        writer.close()


async def test_a_client_that_says_nothing_at_all_is_let_go(broker, monkeypatch):
    monkeypatch.setattr(embedded_broker, "CONNECT_TIMEOUT_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    await ended(reader)
    writer.close()


async def test_a_subscriber_that_reads_nothing_is_let_go_and_others_hear_all(broker, monkeypatch):
    monkeypatch.setattr(embedded_broker, "STALL_LIMIT_S", 1.0)
    reader, writer = await connect(broker, "dead")
    topics = text("reachthru/1/agent/+/news") + b"\x01"
    writer.write(packet(0x82, b"\x00\x01" + topics))
    await reader.readexactly(5)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    writer.transport.pause_reading()
    report = AgentReport(
        host="h", agent_version="x" * 50_000, sent_at="", lateness_ms=0, guests=0, full=True
    )
    heard = 0
    async with controller_bus(broker.url, "c") as controller, agent_bus(broker.url, "h") as agent:
        await until(lambda: controller.connected and agent.connected)
        for _ in range(300):
            await agent.send(report)
        async with asyncio.timeout(DEADLINE_S):
            async for _message in controller.messages():
                heard += 1
                if heard == 300:
                    break
        await until(lambda: len(broker._connections) == 2)
    writer.transport.abort()


def test_a_dead_clients_leftovers_are_logged_in_one_line_a_while(caplog):
    handler = embedded_broker._OneLine()
    for number in range(1000):
        words = {"msg": f"Task failed\nand more {number}", "levelno": logging.ERROR}
        handler.handle(logging.makeLogRecord(words))
    assert caplog.messages == ["embedded broker: Task failed and more 0 (0 more before it)"]


async def test_connections_are_bounded(broker, monkeypatch):
    monkeypatch.setattr(embedded_broker, "CONNECTIONS_LIMIT", 3)
    kept = [await connect(broker, f"client-{number}") for number in range(3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    await ended(reader)
    for its_reader, other in kept:  # they go on
        other.write(packet(0xC0, b""))
        async with asyncio.timeout(DEADLINE_S):
            assert await its_reader.readexactly(2) == b"\xd0\x00"
    for _reader, other in (*kept, (reader, writer)):
        other.close()
