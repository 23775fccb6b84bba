"""packaging/rabbitmq's settings and rights keep everybody to their own side of the bus."""

import asyncio
import contextlib
import datetime
import json
import logging
import ssl
import uuid

import kombu
import pytest
import trustme
from amqp.exceptions import AccessRefused

from reachthru.bus import BusDoor, BusRefusedError, agent_bus, controller_bus
from reachthru.protocol.agent_bus import (
    AgentOffline,
    AgentReport,
    FaultAck,
    GroupQuery,
    ReportRequest,
    encode,
)
from reachthru.protocol.controller_bus import ControllerNews

pytestmark = pytest.mark.xdist_group("rabbitmq")

DEADLINE_S = 20
DOTTED = "compute-0.example.org"


def report(host):
    return AgentReport(
        host=host, agent_version="1", sent_at="", lateness_ms=0.5, guests=0, full=True
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


def agent_of(server, host, user=None):
    return agent_bus(server.bus_url, host, server.locks.door(user or host))


def controller_of(server, user="controller-1"):
    """With a queue of its own: no other test's news."""
    return controller_bus(server.bus_url, f"c-{uuid.uuid4().hex[:8]}", server.locks.door(user))


class Intruder:
    """A client that has a good certificate and bad manners; each deed on a channel of its own."""

    def __init__(self, server, user):
        door = server.locks.door(user)
        self._connection = kombu.Connection(
            f"amqp://127.0.0.1:{server.port}/reachthru",
            login_method="EXTERNAL",
            ssl={"ca_certs": str(door.ca_file), "certfile": str(door.cert_file)}
            | {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "127.0.0.1"},
            transport_options={"confirm_publish": True},
        )

    def __enter__(self):
        self._connection.connect()
        return self

    def __exit__(self, *_):
        self._connection.release()

    @contextlib.contextmanager
    def channel(self):
        channel = self._connection.channel()
        yield channel
        channel.close()

    def publish(self, key, message, exchange="amq.topic", **properties):
        text = json.dumps({"messages": [encode(message).decode()]})
        body = json.dumps({"oslo.version": "2.0", "oslo.message": text})
        with self.channel() as channel:
            kombu.Producer(channel).publish(
                body,
                exchange=exchange,
                routing_key=key,
                content_type="application/json",
                content_encoding="utf-8",
                **properties,
            )


@contextlib.asynccontextmanager
async def intruder(server, user):
    enter = Intruder(server, user)
    await asyncio.to_thread(enter.__enter__)
    try:
        yield enter
    finally:
        await asyncio.to_thread(enter.__exit__)


async def test_agents_and_controllers_with_their_certificates_talk(locked_rabbitmq):
    agent = agent_of(locked_rabbitmq, DOTTED)
    one = controller_of(locked_rabbitmq)
    two = controller_of(locked_rabbitmq, "controller-2")
    async with one, two:
        async with agent:
            await until(lambda: agent.connected and one.connected and two.connected)
            await agent.send(report(DOTTED))
            for controller in (one, two):
                assert await first(controller) == (DOTTED, report(DOTTED))
            await one.send(DOTTED, FaultAck(seqs=[1]))
            assert await first(agent) == FaultAck(seqs=[1])
            await two.send_to_all(ReportRequest())
            assert await first(agent) == ReportRequest()
            news = ControllerNews(controller=one.name, changes=[])
            assert one.tell_controllers(news)
            assert await first(two) == (one.name, news)
        for controller in (one, two):
            assert await first(controller) == (DOTTED, AgentOffline(host=DOTTED, clean=True))


async def test_an_agent_with_anothers_name_is_not_let_in_counted_and_told_so(
    locked_rabbitmq, caplog
):
    async with agent_of(locked_rabbitmq, "compute-1", user="compute-2") as impostor:
        await until(lambda: impostor.refused["not_let_in"] > 1)
        assert not impostor.connected
    complaints = [line for line in caplog.messages if "not authorised" in line]
    assert len(complaints) == 1
    assert "agent.compute-1." in complaints[0]
    assert "compute-2" in complaints[0]


@pytest.mark.parametrize(
    "key",
    [
        "reachthru.1.agent.compute-1.up.info",
        "reachthru.1.agent.compute-1.group.info",
        "reachthru.1.agent.compute-0-example.org.news.info",  # a dot is a dot
        "reachthru.1.agent.compute-1.down.info",
        "reachthru.1.agents.down.info",
        "reachthru.1.controllers.info",
    ],
)
async def test_nobody_publishes_for_another(locked_rabbitmq, key):
    async with intruder(locked_rabbitmq, DOTTED) as traitor:
        with pytest.raises(AccessRefused):
            await asyncio.to_thread(traitor.publish, key, report("compute-1"))


DEEDS = {
    "hears another's key": lambda channel: channel.queue_bind(
        f"reachthru.agent.{DOTTED}", "amq.topic", "reachthru.1.agent.compute-1.down.info"
    ),
    "hears every key": lambda channel: channel.queue_bind(
        f"reachthru.agent.{DOTTED}", "amq.topic", "#"
    ),
    "reads another's queue": lambda channel: channel.basic_get("reachthru.agent.compute-1"),
    "reads the work": lambda channel: channel.basic_get("reachthru.work"),
    "reads the group messages": lambda channel: channel.basic_get("reachthru.group"),
    "makes a queue": lambda channel: channel.queue_declare("mine"),
    "deletes the work": lambda channel: channel.queue_delete("reachthru.work"),
    "purges another's queue": lambda channel: channel.queue_purge("reachthru.agent.compute-1"),
    "deletes the exchange": lambda channel: channel.exchange_delete("amq.topic"),
    "makes an exchange": lambda channel: channel.exchange_declare("mine", "fanout"),
}


@pytest.mark.parametrize("deed", DEEDS)
async def test_nobody_touches_what_is_anothers(locked_rabbitmq, deed):
    agents = [agent_of(locked_rabbitmq, host) for host in (DOTTED, "compute-1")]
    async with agents[0], agents[1], controller_of(locked_rabbitmq) as controller:
        await until(lambda: controller.connected and all(agent.connected for agent in agents))

        def try_it():
            with Intruder(locked_rabbitmq, DOTTED) as traitor, traitor.channel() as channel:
                DEEDS[deed](channel)

        with pytest.raises(AccessRefused):
            await asyncio.to_thread(try_it)


async def test_nobody_publishes_straight_to_a_queue(locked_rabbitmq):
    async with intruder(locked_rabbitmq, DOTTED) as traitor:
        with pytest.raises(AccessRefused):
            await asyncio.to_thread(
                traitor.publish, "reachthru.agent.compute-1", FaultAck(seqs=[1]), exchange=""
            )


async def test_a_copy_that_rabbitmq_lets_through_is_refused_by_who_gets_it(locked_rabbitmq, caplog):
    victim = agent_of(locked_rabbitmq, "compute-1")
    controller = controller_of(locked_rabbitmq)
    async with victim, controller, intruder(locked_rabbitmq, DOTTED) as traitor:
        await until(lambda: victim.connected and controller.connected)
        copies = {"CC": ["reachthru.1.agent.compute-1.down.info"]}
        key = f"reachthru.1.agent.{DOTTED}.news.info"
        await asyncio.to_thread(traitor.publish, key, FaultAck(seqs=[1]), headers=copies)
        await until(lambda: victim.refused["garbled"] == 1)
        await controller.send("compute-1", FaultAck(seqs=[2]))
        assert await first(victim) == FaultAck(seqs=[2])
    assert any(f"agent.{DOTTED}.news" in line for line in caplog.messages)


async def test_a_dead_letter_with_anothers_key_is_refused(locked_rabbitmq, caplog):
    """An agent's own queue may republish what it drops, with any key, and RabbitMQ asks nobody."""
    controller = controller_of(locked_rabbitmq)
    own = "reachthru.agent.compute-2"
    forged = {
        "x-dead-letter-exchange": "amq.topic",
        "x-dead-letter-routing-key": "reachthru.1.agent.compute-1.news.info",
    }

    def forge():
        with Intruder(locked_rabbitmq, "compute-2") as traitor, traitor.channel() as channel:
            channel.queue_delete(own)
            channel.queue_declare(own, durable=True, auto_delete=False, arguments=forged)
            channel.queue_bind(own, "amq.topic", "reachthru.1.agent.compute-2.down.info")
            copies = {"CC": ["reachthru.1.agent.compute-2.down.info"]}
            key = "reachthru.1.agent.compute-2.alive.info"
            traitor.publish(key, report("compute-1"), headers=copies)
            letter = channel.basic_get(own)
            channel.basic_reject(letter.delivery_tag, requeue=False)
            channel.queue_delete(own)

    async with controller, agent_of(locked_rabbitmq, "compute-1") as honest:
        await until(lambda: controller.connected and honest.connected)
        await asyncio.to_thread(forge)
        await until(lambda: controller.refused["garbled"] == 1)
        await honest.send(report("compute-1"))
        assert await first(controller) == ("compute-1", report("compute-1"))
    assert any("dead letter as reachthru.1.agent.compute-1" in line for line in caplog.messages)


async def test_a_client_without_a_certificate_is_told_what_is_missing(locked_rabbitmq, caplog):
    door = BusDoor(ca_file=locked_rabbitmq.locks.ca_file)
    async with agent_bus(locked_rabbitmq.bus_url, "compute-1", door) as agent:
        await until(lambda: any("does it want [bus] cert_file" in line for line in caplog.messages))
        assert not agent.connected


async def test_a_stranger_is_told_that_it_is_one_and_let_in_once_it_has_a_certificate(
    locked_rabbitmq, caplog
):
    locks = locked_rabbitmq.locks
    door = locks.door("compute-1")
    locks.certificate("compute-1", authority=trustme.CA())
    async with agent_bus(locked_rabbitmq.bus_url, "compute-1", door) as agent:
        await until(lambda: any("does not trust" in line for line in caplog.messages))
        locks.certificate("compute-1")  # into the same file
        await until(lambda: agent.connected)


async def test_an_expired_certificate_is_named_as_such(locked_rabbitmq, caplog):
    door = locked_rabbitmq.locks.door("compute-1")
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    locked_rabbitmq.locks.certificate("compute-1", not_after=yesterday)
    async with agent_bus(locked_rabbitmq.bus_url, "compute-1", door):
        await until(lambda: any("has expired" in line for line in caplog.messages))


async def test_a_broker_that_nobody_vouches_for_is_not_talked_to(locked_rabbitmq, tmp_path, caplog):
    foreign = tmp_path / "foreign.pem"
    trustme.CA().cert_pem.write_to_path(str(foreign))
    own = locked_rabbitmq.locks.door("compute-1")
    door = BusDoor(ca_file=foreign, cert_file=own.cert_file)
    async with agent_bus(locked_rabbitmq.bus_url, "compute-1", door) as agent:
        await until(lambda: any("not trusted" in line for line in caplog.messages))
        assert not agent.connected
    caplog.clear()
    # Also with a second broker to turn to, and the name of the first one wrong.
    by_another_name = locked_rabbitmq.bus_url.replace("127.0.0.1", "localhost")
    several = by_another_name.replace("/reachthru", ",127.0.0.2:1/reachthru")
    async with agent_bus(several, "compute-1", own) as agent:
        await until(lambda: any("not trusted: Hostname" in line for line in caplog.messages))
        assert not agent.connected


def with_password(server, user, password, tmp_path):
    """Its certificate lets it in by TLS; its name and password say who it is."""
    password_file = tmp_path / "password"
    password_file.write_text(password)
    password_file.chmod(0o600)
    door = server.locks.door("anybody")
    return BusDoor(
        ca_file=door.ca_file,
        cert_file=door.cert_file,
        username=user,
        password_file=password_file,
    )


async def test_a_wrong_password_is_said_and_a_new_one_in_the_file_is_used(
    locked_rabbitmq, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    door = with_password(locked_rabbitmq, "compute-1", "hush-hush", tmp_path)
    async with agent_bus(locked_rabbitmq.bus_url, "compute-1", door) as agent:
        await until(lambda: any("bad user name, password" in line for line in caplog.messages))
        assert agent.refused["not_let_in"]
        door.password_file.write_text("secret of compute-1\n")
        await until(lambda: agent.connected)
        await agent.send(report("compute-1"))
    assert "hush-hush" not in caplog.text
    assert "secret of" not in caplog.text
    assert "secret of" not in repr(vars(agent))


async def test_a_virtual_host_that_is_not_there_is_named(locked_rabbitmq, caplog):
    url = locked_rabbitmq.bus_url.replace("/reachthru", "/nowhere")
    async with agent_bus(url, "compute-1", locked_rabbitmq.locks.door("compute-1")):
        await until(lambda: any("nowhere" in line and "not" in line for line in caplog.messages))


async def test_what_the_broker_refuses_is_told_once_and_the_rest_goes_on(locked_rabbitmq, caplog):
    """The operator's definitions lack a right."""
    server = locked_rabbitmq
    rights = ["set_topic_permissions", "-p", "reachthru", "compute-2", "amq.topic"]
    only_news = r"^reachthru\.1\.agent\.compute-2\.(news|alive)\.info$"
    await asyncio.to_thread(server.control, *rights, only_news, ".*")
    try:
        async with agent_of(server, "compute-2") as agent:
            await until(lambda: agent.connected)
            for _ in range(3):
                with pytest.raises(BusRefusedError, match="not authorised"):
                    await agent.send(GroupQuery(id=1, asker="uuid"))
            assert agent.refused == {"not_authorised": 1}  # it was asked once
            await agent.send(report("compute-2"))
    finally:
        await asyncio.to_thread(server.import_own_definitions)
    assert len([line for line in caplog.messages if "compute-2.up" in line]) == 1


async def test_queues_of_who_is_gone_are_the_policys_to_delete(locked_rabbitmq):
    async with agent_of(locked_rabbitmq, "compute-1"), controller_of(locked_rabbitmq) as one:
        await until(lambda: one.connected)
        listed = await asyncio.to_thread(
            locked_rabbitmq.control, "list_queues", "-p", "reachthru", "name", "type", "policy"
        )
    rows = {row.split("\t")[0]: row.split("\t")[1:] for row in listed.splitlines()}
    assert rows["reachthru.agent.compute-1"] == ["classic", "reachthru-gone"]
    assert rows[f"reachthru.news.{one.name}"] == ["classic", "reachthru-gone"]
    assert rows["reachthru.group"] == ["classic", "reachthru-gone"]
    assert rows["reachthru.work"] == ["quorum", ""]
