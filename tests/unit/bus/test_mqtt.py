"""MQTT's own parts; what it shares with other carriers is in tests/contract."""

import asyncio
import contextlib

import pytest

from reachthru.bus import BusUrlError, agent_bus, controller_bus
from reachthru.bus.mqtt import client, connection
from reachthru.bus.mqtt.terms import Address
from reachthru.protocol.agent_bus import AgentOffline

DEADLINE_S = 20


class ThriftyBroker:
    """Says in its CONNACK that it takes two messages at once, and is slow to confirm each."""

    most_at_once = confirmed = 0
    _waiting = 0

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind, body = await self._packet(reader)
                match kind:
                    case 1:  # CONNECT
                        writer.write(b"\x20\x06\x00\x00\x03\x21\x00\x02")  # receive maximum 2
                    case 8:  # SUBSCRIBE
                        writer.write(b"\x90\x04" + body[:2] + b"\x00\x01")
                    case 3:  # PUBLISH
                        self._waiting += 1
                        self.most_at_once = max(self.most_at_once, self._waiting)
                        topic_bytes = int.from_bytes(body[:2], "big")
                        asyncio.get_running_loop().call_later(
                            0.01, self._confirm, writer, body[2 + topic_bytes :][:2]
                        )

    def _confirm(self, writer, packet_id):
        self._waiting -= 1
        self.confirmed += 1
        writer.write(b"\x40\x02" + packet_id)

    async def _packet(self, reader):
        first, length, shift = (await reader.readexactly(1))[0], 0, 0
        while True:
            digit = (await reader.readexactly(1))[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return first >> 4, await reader.readexactly(length)


async def test_a_broker_that_takes_two_messages_at_once_is_never_sent_three():
    broker = ThriftyBroker()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with agent_bus(f"mqtt://127.0.0.1:{port}", "compute-0") as agent:
        async with asyncio.timeout(DEADLINE_S):
            while not agent.connected:
                await asyncio.sleep(0.005)
            message = AgentOffline(host="compute-0", clean=False)
            await asyncio.gather(*(agent.send(message) for _ in range(20)))
        assert broker.confirmed == 20
        assert broker.most_at_once == 2
    server.close()


async def test_a_broker_that_never_answers_is_not_left_with_open_connections(monkeypatch):
    monkeypatch.setattr(client, "CONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(connection, "BACKOFF_MAX_S", 0.1)
    opened = closed = 0

    async def listen(reader, writer):
        nonlocal opened, closed
        opened += 1
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until the client has gone
        closed += 1
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with agent_bus(f"mqtt://127.0.0.1:{port}", "compute-0"), asyncio.timeout(DEADLINE_S):
        while opened < 5:
            await asyncio.sleep(0.005)
        assert opened - closed <= 1
    async with asyncio.timeout(DEADLINE_S):
        while closed < opened:
            await asyncio.sleep(0.005)
    server.close()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker", Address("broker", 1883)),
        ("mqtts://broker", Address("broker", 8883, tls=True)),
        ("mqtt://broker:1999/", Address("broker", 1999)),
        ("mqtt://[::1]:1999", Address("::1", 1999)),
    ],
)
def test_a_url_names_a_broker(url, address):
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    "url", ["mqtt://", "mqtt://broker:many", "mqtt://broker:70000", "mqtt://broker/topic", "x://y"]
)
def test_a_url_that_names_none_is_refused(url):
    with pytest.raises(BusUrlError) as refusal:
        controller_bus(url, "a")
    assert url in str(refusal.value)


@pytest.mark.parametrize("url", ["mqtt://me:secret@broker", "mqtts://me:secret@broker:1/topic"])
def test_a_password_in_a_url_is_refused_and_never_shown(url):
    with pytest.raises(BusUrlError, match="password_file") as refusal:
        controller_bus(url, "a")
    assert "secret" not in str(refusal.value)
    assert "broker" in str(refusal.value)


@pytest.mark.parametrize("host", ["", "a/b", "a+", "#"])
async def test_a_host_that_would_break_a_topic_is_refused(host):
    with pytest.raises(ValueError, match="host"):
        agent_bus("mqtt://127.0.0.1", host)
