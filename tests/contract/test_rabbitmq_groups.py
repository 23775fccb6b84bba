"""Group messages on RabbitMQ have a queue of their own, among neighbours of one release."""

import asyncio
import contextlib
import uuid

import pytest

from reachthru.bus import agent_bus, controller_bus
from reachthru.protocol.agent_bus import AgentOffline, GroupAck, GroupQuery, GroupStatus

pytestmark = pytest.mark.xdist_group("rabbitmq")

DEADLINE_S = 20
ASKER = "7a3f2c1e-0000-4000-8000-000000000001"
RIGHTS = ["set_permissions", "-p", "reachthru"]
TOPICS = ["set_topic_permissions", "-p", "reachthru"]


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


class Ways:
    """One agent and one controller; which queue each query came through is RabbitMQ's to say."""

    def __init__(self, server):
        self.server = server
        self.agent = agent_bus(server.bus_url, "compute-1", server.locks.door("compute-1"))
        name = f"c-{uuid.uuid4().hex[:8]}"
        door = server.locks.door("controller-1")
        self.controller = controller_bus(server.bus_url, name, door)
        self.keys = []
        receive = self.controller._connection._receive

        def note(key, payloads):
            self.keys.append(key)
            receive(key, payloads)

        self.controller._connection._receive = note

    async def __aenter__(self):
        self._stack = contextlib.AsyncExitStack()
        await self._stack.enter_async_context(self.controller)
        await self._stack.enter_async_context(self.agent)
        await until(lambda: self.agent.connected and self.controller.connected)
        return self

    async def __aexit__(self, *_):
        await self._stack.aclose()

    async def ask(self, number, answer):
        """The way that query `number` took."""
        assert self.agent.offer(GroupQuery(id=number, asker=ASKER))
        async with asyncio.timeout(DEADLINE_S):
            async for _host, message in self.controller.messages():
                if message == GroupQuery(id=number, asker=ASKER):
                    break
            if answer is not None:
                assert self.controller.offer("compute-1", answer)
                async for message in self.agent.messages():
                    if isinstance(message, type(answer)):
                        break
        return self.keys[-1].rpartition(".")[2]


async def test_they_leave_the_works_queue_once_a_controller_has_answered(locked_rabbitmq):
    async with Ways(locked_rabbitmq) as ways:
        assert await ways.ask(1, GroupAck(taken=[1])) == "up"
        assert await ways.ask(2, GroupAck(taken=[2])) == "group"
        assert await ways.ask(3, GroupStatus(id=3, members=[])) == "group"
        listed = await asyncio.to_thread(
            ways.server.control, "list_queues", "-p", "reachthru", "name", "type"
        )
        assert "reachthru.group\tclassic" in listed


async def test_with_definitions_of_an_older_release_a_controller_goes_on_and_says_what_to_do(
    locked_rabbitmq, caplog
):
    server = locked_rabbitmq
    older = r"^(amq\.topic|reachthru\.work|reachthru\.news\..+)$"
    await asyncio.to_thread(server.control, *RIGHTS, "controller-1", older, older, older)
    try:
        async with Ways(server) as ways:
            assert await ways.ask(1, GroupAck(taken=[1])) == "up"
            assert await ways.ask(2, GroupAck(taken=[2])) == "up"
    finally:
        await asyncio.to_thread(server.import_own_definitions)
    (said,) = [line for line in caplog.messages if "reachthru.group" in line]
    assert "import the definitions of packaging/rabbitmq again" in said


async def test_an_agent_that_may_not_publish_them_apart_sends_them_with_the_work(
    locked_rabbitmq, caplog
):
    server = locked_rabbitmq
    older = r"^reachthru\.1\.agent\.compute-1\.(up|news|alive)\.info$"
    await asyncio.to_thread(server.control, *TOPICS, "compute-1", "amq.topic", older, ".*")
    try:
        async with Ways(server) as ways:
            assert await ways.ask(1, GroupAck(taken=[1])) == "up"
            assert ways.agent.offer(GroupQuery(id=2, asker=ASKER))  # lost, and counted
            await until(lambda: ways.agent.refused["not_authorised"] == 1)
            for number in (3, 4):
                assert await ways.ask(number, GroupAck(taken=[number])) == "up"
    finally:
        await asyncio.to_thread(server.import_own_definitions)
    assert len([line for line in caplog.messages if "compute-1.group" in line]) == 1


async def test_what_is_no_group_message_does_not_come_as_one(locked_rabbitmq):
    """Faults wait for the disk, and news is for every controller: no way round that."""
    async with Ways(locked_rabbitmq) as ways:
        ways.agent._key_of = lambda _message: "reachthru.1.agent.compute-1.group"
        assert ways.agent.offer(AgentOffline(host="compute-1", clean=True))
        await until(lambda: ways.controller.refused["garbled"] == 1)
