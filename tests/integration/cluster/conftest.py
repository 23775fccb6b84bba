"""Three controllers on a broker and PostgreSQL; four hosts, a guest of each in one group."""

import contextlib

import pytest
import pytest_asyncio

from lab.controllers import Agent, Controller, Mosquitto, Webhook

HOSTS = [f"compute-{number}" for number in range(4)]
LOST_AFTER_S = 4


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


class Cloud:
    def __init__(self, folder, broker_url, database_url, webhook, stack):
        self.webhook, self.broker_url = webhook, broker_url
        self.agents = [
            Agent(broker_url, host, [f"{host}-vm", *(f"{host}-vm{n}" for n in range(1, 4))])
            for host in HOSTS
        ]
        groups = folder / "groups.yaml"
        groups.write_text("g: [" + ", ".join(f"{host}-vm" for host in HOSTS) + "]\n")
        settings = (
            f"[bus]\nurl = {broker_url}\n[database]\nconnection = {database_url}\n"
            f"[groups]\nstatic_file = {groups}\n[hosts]\nlost_after_s = {LOST_AFTER_S}\n"
            f"[sinks]\nenabled = webhook\n[sink_webhook]\nurl = {webhook.url}\n"
        )
        self.controllers = [Controller(folder / f"controller-{n}", settings) for n in range(3)]
        self._stack = stack

    async def start(self):
        for controller in self.controllers:
            self._stack.push_async_callback(self._end, controller)
            await controller.start(wait=False)
        for controller in self.controllers:
            await controller.ready()

    async def join(self):
        """The agents' part."""
        for agent in self.agents:
            await self._stack.enter_async_context(agent)

    async def leader(self):
        for controller in self.controllers:
            if controller.process.returncode is None and await controller.role() == "leader":
                return controller
        return None

    def expected(self):
        """Every change that was ever raised, by instance, in order."""
        return {
            instance: [
                (f"{instance}-{number}", status)
                for number in range(raised)
                for status in ("raised", "cleared")
            ]
            for agent in self.agents
            for instance, raised in agent.raised.items()
        }

    async def _end(self, controller):
        if controller.process is not None and controller.process.returncode is None:
            await controller.kill()


@contextlib.asynccontextmanager
async def open_cloud(folder, broker_url, database_url):
    async with contextlib.AsyncExitStack() as stack:
        webhook = await stack.enter_async_context(Webhook())
        made = Cloud(folder, broker_url, database_url, webhook, stack)
        await made.start()
        await made.join()
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory, broker, postgresql_server, _migrated):
    """One for all tests of a module: what a test leaves, the next one finds."""
    url = postgresql_server.make_database(_migrated)
    async with open_cloud(tmp_path_factory.mktemp("cloud"), broker.url, url) as made:
        yield made


@pytest_asyncio.fixture
async def rabbit_cloud(tmp_path, rabbitmq_server, postgresql_url):
    url = f"rabbit://127.0.0.1:{rabbitmq_server.port}/{rabbitmq_server.make_vhost()}"
    async with open_cloud(tmp_path, url, postgresql_url) as made:
        yield made
