"""MQTT 5 on a real Mosquitto: what a session keeps, and a broker that dies, freezes or returns."""

import asyncio
import contextlib
import logging
import signal
import time
from collections import Counter

import pytest

from reachthru.bus import BusDoor, BusUnavailableError, agent_bus, controller_bus
from reachthru.bus.mqtt import client, connection, terms
from reachthru.protocol.agent_bus import (
    AgentOffline,
    AgentReport,
    FaultAck,
    FaultChange,
    GroupAck,
    GroupBroadcast,
    GroupNotification,
    ReportRequest,
)

DEADLINE_S = 20


def report(host="compute-0", version="1"):
    return AgentReport(
        host=host, agent_version=version, sent_at="", lateness_ms=0.5, guests=0, full=True
    )


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def take(end, count):
    taken = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in end.messages():
            taken.append(message)
            if len(taken) == count:
                break
    return taken


async def test_what_is_sent_to_an_agent_during_a_short_break_arrives(mosquitto, proxy):
    controller = controller_bus(mosquitto.url, "a")
    async with controller, agent_bus(f"mqtt://127.0.0.1:{proxy.port}", "compute-0") as agent:
        await until(lambda: agent.connected and controller.connected)
        await proxy.cut()
        await until(lambda: not agent.connected)
        await controller.send("compute-0", FaultAck(seqs=[1]))
        notification = GroupNotification(
            recipients=["u"], event_type="e", priority="INFO", timestamp="t", payload={}
        )
        assert controller.offer("compute-0", notification)
        await controller.send("compute-0", FaultAck(seqs=[2]))
        await proxy.open()
        # What was only offered is worth nothing late, and does not come.
        assert await take(agent, 2) == [FaultAck(seqs=[1]), FaultAck(seqs=[2])]


async def test_nothing_is_kept_for_an_agent_that_left(mosquitto):
    async with controller_bus(mosquitto.url, "a") as controller:
        async with agent_bus(mosquitto.url, "compute-0") as agent:
            await until(lambda: agent.connected and controller.connected)
        await controller.send("compute-0", FaultAck(seqs=[1]))
        async with agent_bus(mosquitto.url, "compute-0") as agent:
            await until(lambda: agent.connected)
            await controller.send("compute-0", ReportRequest())
            assert await take(agent, 1) == [ReportRequest()]


async def test_nothing_is_kept_for_a_controller_that_left(mosquitto, proxy):
    controller = controller_bus(f"mqtt://127.0.0.1:{proxy.port}", "a")
    async with controller, agent_bus(mosquitto.url, "compute-0") as agent:
        await until(lambda: agent.connected and controller.connected)
        await proxy.cut()
        await until(lambda: not controller.connected)
        await agent.send(report(version="while away"))
        await proxy.open()
        await until(lambda: controller.connected)
        await agent.send(report(version="now"))
        assert await take(controller, 1) == [("compute-0", report(version="now"))]


async def test_an_agent_that_is_back_at_once_was_never_away(mosquitto, proxy):
    controller = controller_bus(mosquitto.url, "a")
    async with controller, agent_bus(f"mqtt://127.0.0.1:{proxy.port}", "compute-0") as agent:
        await until(lambda: agent.connected and controller.connected)
        await proxy.cut()
        await proxy.open()
        await until(lambda: not agent.connected)
        await until(lambda: agent.connected)
        await asyncio.sleep(terms.WILL_DELAY_S + 1.5)  # Mosquitto looks for wills each second
        await agent.send(report())
        assert await take(controller, 1) == [("compute-0", report())]


async def test_an_agent_that_died_is_known_to_be_dead_in_about_two_seconds(mosquitto, proxy):
    controller = controller_bus(mosquitto.url, "a")
    async with controller, agent_bus(f"mqtt://127.0.0.1:{proxy.port}", "compute-0") as agent:
        await until(lambda: agent.connected and controller.connected)
        await proxy.cut()
        dropped_at = time.monotonic()
        will = ("compute-0", AgentOffline(host="compute-0", clean=False))
        assert await take(controller, 1) == [will]
        assert time.monotonic() - dropped_at < 3


async def test_a_broker_that_is_killed_and_starts_again_is_found_by_everybody(mosquitto, caplog):
    caplog.set_level(logging.INFO, "reachthru.bus")
    controller = controller_bus(mosquitto.url, "a")
    async with controller, agent_bus(mosquitto.url, "compute-0") as agent:
        await until(lambda: agent.connected and controller.connected)
        await mosquitto.kill()
        await until(lambda: not agent.connected and not controller.connected)
        with pytest.raises(BusUnavailableError):
            await agent.send(report())
        await asyncio.sleep(1)
        await mosquitto.start()
        await until(lambda: agent.connected and controller.connected)
        await agent.send(report())
        assert await take(controller, 1) == [("compute-0", report())]
        await controller.send("compute-0", FaultAck(seqs=[1]))
        assert await take(agent, 1) == [FaultAck(seqs=[1])]
    assert len([line for line in caplog.messages if "no broker" in line]) == 2  # once each
    assert len([line for line in caplog.messages if "is back" in line]) == 2


async def test_a_stopped_broker_is_noticed_by_those_who_only_listen(mosquitto, monkeypatch):
    monkeypatch.setattr(client, "KEEPALIVE_S", 1)
    async with controller_bus(mosquitto.url, "a") as controller:
        await until(lambda: controller.connected)
        mosquitto.signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        await until(lambda: not controller.connected)
        assert time.monotonic() - stopped_at < 2 * 1 + 2  # aiomqtt looks once a second
        assert not controller.offer("compute-0", GroupAck(taken=[1]))
        mosquitto.signal(signal.SIGCONT)
        await until(lambda: controller.connected)
        await controller.send("compute-0", ReportRequest())


async def test_a_stopped_broker_that_is_talked_to_is_noticed_and_found_again(
    mosquitto, monkeypatch
):
    monkeypatch.setattr(connection, "CONFIRM_TIMEOUT_S", 1.0)
    agent = agent_bus(mosquitto.url, "compute-0")
    async with agent:
        await until(lambda: agent.connected)
        mosquitto.signal(signal.SIGSTOP)
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(agent.send(report()) for _ in range(300)), return_exceptions=True
        )
        assert time.monotonic() - started < 3
        assert all(isinstance(outcome, BusUnavailableError) for outcome in outcomes)
        assert not agent.connected
        await asyncio.sleep(client.CONNECT_TIMEOUT_S + 0.3)  # a try whose CONNECT lies unread
        mosquitto.signal(signal.SIGCONT)
        await until(lambda: agent.connected)
        await agent.send(report())


async def test_an_agent_that_freezes_is_declared_dead_by_the_broker(mosquitto, proxy, monkeypatch):
    controller = controller_bus(mosquitto.url, "a")
    await controller.__aenter__()
    await until(lambda: controller.connected)
    monkeypatch.setattr(client, "KEEPALIVE_S", 1)
    async with agent_bus(f"mqtt://127.0.0.1:{proxy.port}", "compute-0") as agent:
        await until(lambda: agent.connected)
        proxy.hold()
        frozen_at = time.monotonic()
        will = ("compute-0", AgentOffline(host="compute-0", clean=False))
        assert await take(controller, 1) == [will]
        assert time.monotonic() - frozen_at < 10
        proxy.release()
    await controller.__aexit__(None, None, None)


async def test_two_agents_of_one_name_are_told_of_each_other(mosquitto, caplog):
    one, two = (agent_bus(mosquitto.url, "compute-0") for _ in range(2))
    async with one, two:
        await until(lambda: any("is there another client" in line for line in caplog.messages))


async def test_what_is_too_long_for_the_broker_costs_itself_only(tmp_path, start_mosquitto, caplog):
    broker = await start_mosquitto("allow_anonymous true\nmax_packet_size 10000")
    told = []
    controller = controller_bus(broker.url, "a")
    async with controller, agent_bus(broker.url, "compute-0") as agent:
        agent.on_connection = told.append
        await until(lambda: agent.connected and controller.connected)
        for _ in range(3):
            with pytest.raises(BusUnavailableError, match="too long"):
                await agent.send(report(version="x" * 10_000))
        await agent.send(report(version="x" * 9_000))
        assert await take(controller, 1) == [("compute-0", report(version="x" * 9_000))]
        assert agent.refused == {"too_long": 3}
    assert len([line for line in caplog.messages if "too long" in line]) == 1


async def test_a_wrong_password_is_named_and_a_right_one_is_taken_without_a_restart(
    tmp_path, start_mosquitto, caplog
):
    users = tmp_path / "users"
    users.touch()
    made = await asyncio.create_subprocess_exec(
        "mosquitto_passwd", "-b", users, "agent", "right", stderr=asyncio.subprocess.DEVNULL
    )
    assert await made.wait() == 0
    broker = await start_mosquitto(f"allow_anonymous false\npassword_file {users}")
    password_file = tmp_path / "password"
    password_file.write_text("hush-hush\n")
    password_file.chmod(0o600)
    door = BusDoor(username="agent", password_file=password_file)
    async with agent_bus(broker.url, "compute-0", door) as agent:
        await until(lambda: any("password_file" in line for line in caplog.messages))
        assert not agent.connected
        password_file.write_text("right\n")
        await until(lambda: agent.connected)
        password_file.unlink()
        await broker.kill()
        await until(lambda: any("[bus] password_file = " in line for line in caplog.messages))
    assert "hush-hush" not in caplog.text


async def test_a_bus_that_is_left_while_it_connects_leaves_nothing_behind(mosquitto):
    before = asyncio.all_tasks()
    for turns in range(60):  # of the event loop, which end somewhere between TCP and SUBACK
        agent = agent_bus(mosquitto.url, "compute-0")
        async with asyncio.timeout(5):
            async with agent:
                deadline = time.monotonic() + turns * 0.0005
                while time.monotonic() < deadline:
                    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_an_offer_leaves_nothing_to_do_behind(mosquitto, monkeypatch):
    writes = []
    write = client.Client._write
    monkeypatch.setattr(client.Client, "_write", lambda self: writes.append(1) or write(self))
    async with agent_bus(mosquitto.url, "compute-0") as agent:
        await until(lambda: agent.connected)
        before = len(writes)
        for number in range(10):
            assert agent.offer(GroupBroadcast(id=number, sender="uuid", data="x"))
        await asyncio.sleep(0.2)
    assert len(writes) - before < 10  # a loop that spins makes thousands


class Repeater:
    """What an agent promises: whatever is not acknowledged in time is sent again."""

    def __init__(self, url, host, count):
        self.bus = agent_bus(url, host)
        self._host = host
        self._waiting = {seq: self._fault(seq) for seq in range(count)}
        self.sent = 0

    def _fault(self, seq):
        return FaultChange(
            fault_id=f"{self._host}-{seq}",
            seq=seq,
            status="raised",
            kind="heartbeat_lost",
            severity="critical",
            instance_uuid="uuid",
            instance_name="name",
            host=self._host,
            raised_at="2026-01-01T00:00:00.000000+00:00",
            detail="x" * 300,
        )

    async def run(self):
        listening = asyncio.create_task(self._listen())
        while self._waiting:
            for change in list(self._waiting.values()):
                self.sent += 1
                await self.bus.send(change)
            repeat_at = time.monotonic() + 0.5
            while self._waiting and time.monotonic() < repeat_at:
                await asyncio.sleep(0.05)
        listening.cancel()

    async def _listen(self):
        async for message in self.bus.messages():
            for seq in message.seqs:
                self._waiting.pop(seq, None)


async def store(controller, stored):
    async for host, change in controller.messages():
        stored[host, change.seq] += 1
        await controller.send(host, FaultAck(seqs=[change.seq]))


async def test_a_burst_that_a_broker_drops_part_of_is_stored_all_the_same(start_mosquitto):
    limits = "max_inflight_messages 20\nmax_queued_messages 50"
    broker = await start_mosquitto(f"allow_anonymous true\n{limits}")
    controllers = [controller_bus(broker.url, name) for name in ("a", "b")]
    agents = [Repeater(broker.url, f"compute-{number}", 40) for number in range(25)]
    stored = Counter()
    async with contextlib.AsyncExitStack() as stack:
        for end in (*controllers, *(agent.bus for agent in agents)):
            await stack.enter_async_context(end)
        await until(lambda: all(end.connected for end in controllers))
        await until(lambda: all(agent.bus.connected for agent in agents))
        storing = [asyncio.create_task(store(end, stored)) for end in controllers]
        async with asyncio.timeout(60):
            await asyncio.gather(*(agent.run() for agent in agents))
        for task in storing:
            task.cancel()
    assert len(stored) == 25 * 40
    assert "being dropped" in broker.log.read_text()
    assert sum(agent.sent for agent in agents) > 25 * 40
