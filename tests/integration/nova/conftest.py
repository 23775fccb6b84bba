"""Nova's own code over HTTP, a real RabbitMQ between it and us, and a directory that listens."""

import asyncio
import contextlib
import json
import subprocess
import time
import uuid
from pathlib import Path

import kombu
import openstack
import pytest

from lab.proxy import Proxy
from reachthru import service
from reachthru.controller_server.nova.directory import NovaDirectory
from reachthru.controller_server.nova.settings import nova_settings, options
from servers.rabbitmq import RabbitMqServer

ROOT = Path(__file__).parents[3]
NOVA_PYTHON = ROOT / ".venv-nova/bin/python"  # tools/setup-services makes it
NOVA_SERVER = Path(__file__).with_name("nova_server.py")
DEADLINE_S = 40


async def until(condition, deadline_s=DEADLINE_S):
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(name="until")
def until_fixture():
    return until


class Nova:
    """The cloud as an admin sees it. `url` is the compute endpoint; `rabbit` carries its news."""

    def __init__(self, folder, rabbit):
        self.rabbit = rabbit
        self.keystone_file = folder / "keystone.json"  # see clients_door.py
        self._log = (folder / "nova.log").open("wb")
        self._process = subprocess.Popen(
            [NOVA_PYTHON, NOVA_SERVER, rabbit.url, self.keystone_file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        line = self._process.stdout.readline()
        assert line, (folder / "nova.log").read_text()
        answer = json.loads(line)
        self.url, self._image = answer["url"], answer["image"]
        self.projects = {}

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()

    def compute(self, project="a" * 32):
        if project not in self.projects:
            connection = openstack.connect(
                auth_type="admin_token",
                auth={"endpoint": self.url, "token": f"admin:{project}"},
                compute_endpoint_override=self.url,
                compute_default_microversion="2.90",
                load_yaml_config=False,
                load_envvars=False,
            )
            self.projects[project] = connection.compute
        return self.projects[project]

    def group(self, policy="soft-affinity"):
        return self.compute().create_server_group(name=uuid.uuid4().hex, policy=policy)

    def server(self, group=None, flavor="1"):
        """Booted, in that group."""
        hints = {} if group is None else {"group": group.id}
        compute = self.compute()
        server = compute.create_server(
            name="vm",
            image_id=self._image,
            flavor_id=flavor,
            networks="none",
            scheduler_hints=hints,
        )
        return self.settled(server)

    def settled(self, server, state=None):
        """The server as it is when no task is under way (and it is in `state`)."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            server = self.compute().get_server(server.id)
            arrived = server.vm_state == state or (not state and server.vm_state != "building")
            if arrived and server.task_state is None:
                return server
            assert time.monotonic() < deadline, f"{server.vm_state} {server.task_state}"
            time.sleep(0.1)

    def stop(self, host):
        """Its nova-compute reports no more."""
        self._tell("stop", host)

    def restart(self, host):
        self._tell("restart", host)

    def _tell(self, verb, host):
        self._process.stdin.write(json.dumps({verb: host}) + "\n")
        self._process.stdin.flush()
        assert json.loads(self._process.stdout.readline()) == {"done": verb}

    def force_down(self, host, down):
        services = self.compute().services(binary="nova-compute")
        service_id = next(found.id for found in services if found.host == host)
        path = f"/os-services/{service_id}"
        answer = self.compute().put(path, json={"forced_down": down}, microversion="2.53")
        assert answer.status_code == 200


class Recorder:
    """Another listener: every notification with its arrival, `{"at": monotonic, ...message}`."""

    def __init__(self, port):
        self._url = f"amqp://guest:guest@127.0.0.1:{port}//"
        self.heard = []

    async def __aenter__(self):
        self._stop = False
        self._ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(asyncio.to_thread(self._run, loop))
        await self._ready.wait()
        return self

    async def __aexit__(self, *_):
        self._stop = True
        await self._task

    def _run(self, loop):
        with kombu.Connection(self._url) as connection, connection.channel() as channel:
            exchange = kombu.Exchange("nova", "topic", durable=False, channel=channel)
            queue = kombu.Queue(exchange=exchange, durable=False, auto_delete=True, channel=channel)
            queue.name = f"recorder-{uuid.uuid4().hex}"
            queue.declare()
            for topic in ("notifications", "versioned_notifications"):
                queue.bind_to(exchange, routing_key=f"{topic}.*")
            with kombu.Consumer(channel, [queue], callbacks=[self._hear]):
                loop.call_soon_threadsafe(self._ready.set)
                while not self._stop:
                    with contextlib.suppress(TimeoutError):
                        connection.drain_events(timeout=0.1)

    def _hear(self, body, message):
        content = json.loads(body) if isinstance(body, str) else body
        self.heard.append({"at": time.monotonic(), **json.loads(content["oslo.message"])})
        message.ack()

    def at(self, event_type, instance_uuid):
        """When that was first heard, or None."""
        return next(
            (
                n["at"]
                for n in self.heard
                if n["event_type"] == event_type and instance_uuid in json.dumps(n["payload"])
            ),
            None,
        )

    def state(self, instance_uuid, state):
        """When an update of Nova's own, in the old form, first had it in that state, or None."""
        return next(
            (
                n["at"]
                for n in self.heard
                if n["event_type"] == "compute.instance.update"
                and n["payload"]["instance_id"] == instance_uuid
                and n["payload"]["state"] == state
            ),
            None,
        )


class Running:
    """A directory at work, and all that it told: (monotonic, change)."""

    def __init__(self, directory):
        self.directory = directory
        self.told = []
        directory.on_change = lambda change: self.told.append((time.monotonic(), change))

    def words(self, server):
        return [change.event_type for _, change in self.told if change.member.uuid == server.id]

    def member(self, server):
        group = self.directory.group_of(server.id)
        members = group.members if group is not None else ()
        return next((member for member in members if member.uuid == server.id), None)

    def is_in(self, server, *, state=None, host=None):
        member = self.member(server)
        return member is not None and state in (None, member.state) and host in (None, member.host)


def settings_of(folder, url, endpoint, **more):
    path = folder / "controller.conf"
    lines = {
        "notifications_url": url,
        "notifications_pool": f"reachthru-{uuid.uuid4().hex}",
        "auth_type": "admin_token",
        "endpoint": endpoint,
        "token": "admin:" + "b" * 32,
        "endpoint_override": endpoint,
        **more,
    }
    path.write_text("[nova]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()))
    return nova_settings(path, service.load(path, {"nova": options()}))


@pytest.fixture(scope="package")
def rabbit():
    """Its own: a test stops it."""
    with RabbitMqServer() as server:
        yield server


@pytest.fixture(scope="package")
def nova(rabbit, tmp_path_factory):
    cloud = Nova(tmp_path_factory.mktemp("nova"), rabbit)
    yield cloud
    cloud.close()


@pytest.fixture
async def start(tmp_path):
    """start(url, endpoint, **settings): a directory that has read and hears all."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(url, endpoint, **more):
            running = Running(NovaDirectory(settings_of(tmp_path, url, endpoint, **more)))
            task = asyncio.create_task(running.directory.run())

            async def stop():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

            stack.push_async_callback(stop)
            await until(lambda: not running.directory.stale)
            return running

        yield start


@pytest.fixture
async def proxy():
    """proxy(port): an open door to it, that a test can cut."""
    doors = []

    async def proxy(port):
        doors.append(Proxy(port))
        await doors[-1].open()
        return doors[-1]

    yield proxy
    for door in doors:
        await door.cut()


@pytest.fixture
async def running(start, rabbit, nova):
    return await start(rabbit.url, nova.url)


@pytest.fixture
async def recorder(rabbit):
    async with Recorder(rabbit.port) as recorder:
        yield recorder
