"""packaging/mosquitto's settings and access rules keep everybody to their own side of the bus."""

import asyncio
import datetime
import logging
import ssl

import aiomqtt
import pytest
import trustme
from paho.mqtt.reasoncodes import ReasonCode

from reachthru.bus import BusDoor, BusRefusedError, agent_bus, controller_bus
from reachthru.bus.mqtt import connection
from reachthru.protocol.agent_bus import (
    AgentOffline,
    AgentReport,
    FaultAck,
    FaultChange,
    GroupBroadcast,
    ReportRequest,
    encode,
)
from reachthru.protocol.controller_bus import ControllerNews

DEADLINE_S = 20


def report(host):
    return AgentReport(
        host=host, agent_version="1", sent_at="", lateness_ms=0.5, guests=0, full=True
    )


def fault(host):
    return FaultChange(
        fault_id="fault",
        seq=1,
        status="raised",
        kind="heartbeat_lost",
        severity="critical",
        instance_uuid="uuid",
        instance_name="name",
        host=host,
        raised_at="2026-01-01T00:00:00.000000+00:00",
    )


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def first(end):
    async with asyncio.timeout(DEADLINE_S):
        async for message in end.messages():
            return message
    return None


class Intruder(aiomqtt.Client):
    """A client that has a good certificate and bad manners. Keeps what the broker answers."""

    def __init__(self, broker, name, identifier=None):
        door = broker.locks.door(name)
        super().__init__(
            "127.0.0.1",
            broker.port,
            identifier=identifier,
            tls_context=door.tls_context(),
            protocol=aiomqtt.ProtocolVersion.V5,
        )
        self.answers: list[ReasonCode] = []

    def _on_publish(self, client, userdata, mid, reason_code, properties):
        self.answers.append(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)


async def test_agents_and_controllers_with_their_certificates_talk(locked):
    agent = agent_bus(locked.url, "compute-0", locked.locks.door("compute-0"))
    one = controller_bus(locked.url, "one", locked.locks.door("controller-1"))
    two = controller_bus(locked.url, "two", locked.locks.door("controller-2"))
    async with one, two:
        async with agent:
            await until(lambda: agent.connected and one.connected and two.connected)
            await agent.send(report("compute-0"))
            for controller in (one, two):
                assert await first(controller) == ("compute-0", report("compute-0"))
            await one.send("compute-0", FaultAck(seqs=[1]))
            assert await first(agent) == FaultAck(seqs=[1])
            await two.send_to_all(ReportRequest())
            assert await first(agent) == ReportRequest()
            news = ControllerNews(controller="one", changes=[fault("compute-0")])
            assert one.tell_controllers(news)
            assert await first(two) == ("one", news)
        for controller in (one, two):
            assert await first(controller) == (
                "compute-0",
                AgentOffline(host="compute-0", clean=True),
            )


async def test_an_agent_with_anothers_name_is_refused_counted_and_told_so(locked, caplog):
    controller = controller_bus(locked.url, "one", locked.locks.door("controller-1"))
    impostor = agent_bus(locked.url, "compute-1", locked.locks.door("compute-0"))
    honest = agent_bus(locked.url, "compute-2", locked.locks.door("compute-2"))
    async with controller, honest:
        async with impostor:
            await until(lambda: all(end.connected for end in (controller, impostor, honest)))
            for message in (report("compute-1"), fault("compute-1")):
                with pytest.raises(BusRefusedError, match="not authorised"):
                    await impostor.send(message)
            assert impostor.refused == {"not_authorised": 2}
        await honest.send(report("compute-2"))
        assert await first(controller) == ("compute-2", report("compute-2"))
    assert len([line for line in caplog.messages if "not authorised" in line]) == 2  # the topics


async def test_the_last_will_of_an_impostor_is_not_published(locked, locked_proxy):
    controller = controller_bus(locked.url, "one", locked.locks.door("controller-1"))
    url = f"mqtts://127.0.0.1:{locked_proxy.port}"
    impostor = agent_bus(url, "compute-1", locked.locks.door("compute-0"))
    honest = agent_bus(url, "compute-2", locked.locks.door("compute-2"))
    distant = agent_bus(locked.url, "compute-3", locked.locks.door("compute-3"))
    ends = (controller, impostor, honest, distant)
    async with controller, impostor, honest, distant:
        await until(lambda: all(end.connected for end in ends))
        await locked_proxy.cut()
        will = ("compute-2", AgentOffline(host="compute-2", clean=False))
        assert await first(controller) == will
        await asyncio.sleep(1.2)  # wills come each second
        await distant.send(report("compute-3"))
        assert await first(controller) == ("compute-3", report("compute-3"))


async def test_what_an_agent_publishes_as_another_host_reaches_nobody(locked):
    controller = controller_bus(locked.url, "one", locked.locks.door("controller-1"))
    async with controller, Intruder(locked, "compute-0") as intruder:
        await until(lambda: controller.connected)
        forged = GroupBroadcast(id=1, sender="uuid", data="forged")
        for topic in ("agent/compute-1/up", "agent/compute-1/news", "agent/compute-1/down"):
            await intruder.publish(f"reachthru/1/{topic}", encode(forged), qos=1)
        await intruder.publish("reachthru/1/agents/down", encode(ReportRequest()), qos=1)
        await intruder.publish("reachthru/1/controllers", b"{}", qos=1)
        assert [answer.value for answer in intruder.answers] == [0x87] * 5
        await intruder.publish("reachthru/1/agent/compute-0/up", encode(fault("compute-0")), qos=1)
        assert await first(controller) == ("compute-0", fault("compute-0"))
        assert not controller.refused
    assert "Denied PUBLISH" in locked.log.read_text()


async def test_what_is_for_another_host_is_not_heard(locked):
    controller = controller_bus(locked.url, "one", locked.locks.door("controller-1"))
    async with controller, Intruder(locked, "compute-0") as intruder:
        await until(lambda: controller.connected)
        for topic in ("agent/+/down", "agent/compute-1/down", "agent/+/up", "controllers", "#"):
            await intruder.subscribe(f"reachthru/1/{topic}", qos=1)
        await intruder.subscribe("$share/reachthru/reachthru/1/agent/+/up", qos=1)
        victim = agent_bus(locked.url, "compute-1", locked.locks.door("compute-1"))
        async with victim:
            await until(lambda: victim.connected)
            await controller.send("compute-1", FaultAck(seqs=[1]))
            await victim.send(report("compute-1"))
            controller.tell_controllers(ControllerNews(controller="one", changes=[]))
            await controller.send_to_all(ReportRequest())
            async with asyncio.timeout(DEADLINE_S):
                heard = await anext(aiter(intruder.messages))
        assert str(heard.topic) == "reachthru/1/agents/down"  # which is for every agent


async def test_nobody_is_thrown_out_by_a_client_with_its_identifier(locked):
    told = []
    agent = agent_bus(locked.url, "compute-0", locked.locks.door("compute-0"))
    agent.on_connection = told.append
    async with agent:
        await until(lambda: agent.connected)
        async with Intruder(locked, "compute-9", "reachthru-agent-compute-0") as intruder:
            await intruder.publish("reachthru/1/agent/compute-9/news", b"{}", qos=1)
            await agent.send(report("compute-0"))
        assert told == [True]


async def test_an_agent_that_speaks_as_a_controller_is_refused_counted_and_not_asked_hot(
    locked, caplog, monkeypatch
):
    monkeypatch.setattr(connection, "REFUSAL_HOLD_S", 0.5)
    traitor = controller_bus(locked.url, "one", locked.locks.door("compute-0"))
    async with traitor:
        await until(lambda: traitor.connected)
        for _ in range(50):
            with pytest.raises(BusRefusedError, match="not authorised"):
                await traitor.send("compute-1", FaultAck(seqs=[1]))
        assert traitor.refused == {"not_authorised": 1}
        await asyncio.sleep(0.6)
        with pytest.raises(BusRefusedError):
            await traitor.send("compute-1", FaultAck(seqs=[1]))
        assert traitor.refused == {"not_authorised": 2}
        complaints = [line for line in caplog.messages if "agent/compute-1/down" in line]
        assert len(complaints) == 1
        # The operator gives it the right, and all is well again without a restart.
        with locked.acl_file.open("a") as acl:
            acl.write("\nuser compute-0\ntopic write reachthru/1/agent/+/down\n")
        locked.signal(1)  # SIGHUP
        await asyncio.sleep(0.6)
        await traitor.send("compute-1", FaultAck(seqs=[1]))


async def test_a_client_without_a_certificate_is_told_what_is_missing(locked, caplog):
    async with agent_bus(locked.url, "compute-0", BusDoor(ca_file=locked.locks.ca_file)):
        await until(lambda: any("set [bus] cert_file" in line for line in caplog.messages))


async def test_a_stranger_is_told_that_it_is_one_and_let_in_once_it_has_a_certificate(
    locked, caplog
):
    door = locked.locks.door("compute-0")
    locked.locks.certificate("compute-0", authority=trustme.CA())
    agent = agent_bus(locked.url, "compute-0", door)
    async with agent:
        await until(lambda: any("does not trust" in line for line in caplog.messages))
        locked.locks.certificate("compute-0")  # into the same file
        await until(lambda: agent.connected)
        await agent.send(report("compute-0"))


async def test_an_expired_certificate_is_named_as_such(locked, caplog):
    door = locked.locks.door("compute-0")
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    locked.locks.certificate("compute-0", not_after=yesterday)
    async with agent_bus(locked.url, "compute-0", door):
        await until(lambda: any("has expired" in line for line in caplog.messages))


async def test_a_broker_that_nobody_vouches_for_is_not_talked_to(locked, tmp_path, caplog):
    foreign = tmp_path / "foreign.pem"
    trustme.CA().cert_pem.write_to_path(str(foreign))
    own = locked.locks.door("compute-0")
    door = BusDoor(ca_file=foreign, cert_file=own.cert_file)
    async with agent_bus(locked.url, "compute-0", door) as agent:
        await until(lambda: any("not trusted" in line for line in caplog.messages))
        assert not agent.connected
    by_another_name = locked.url.replace("127.0.0.1", "localhost")
    async with agent_bus(by_another_name, "compute-0", own) as agent:
        await until(lambda: any("localhost" in line for line in caplog.messages))
        assert not agent.connected


async def test_nothing_secret_is_logged(locked, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    password_file = tmp_path / "password"
    password_file.write_text("hush-hush\n")
    password_file.chmod(0o600)
    own = locked.locks.door("compute-0")
    door = BusDoor(
        ca_file=own.ca_file, cert_file=own.cert_file, username="me", password_file=password_file
    )
    async with agent_bus(locked.url, "compute-0", door) as agent:
        await until(lambda: agent.connected)
    assert "hush-hush" not in caplog.text
    assert "PRIVATE KEY" not in caplog.text
    assert "hush-hush" not in repr(door)


def test_tls_without_a_certificate_checks_the_broker_all_the_same():
    assert BusDoor().tls_context().verify_mode is ssl.CERT_REQUIRED
    assert BusDoor().tls_context().check_hostname
