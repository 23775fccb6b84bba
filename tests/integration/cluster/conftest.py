"""Three controllers on Mosquitto and PostgreSQL; four hosts, a guest of each in one group."""

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
    def __init__(self, folder, broker, database_url, webhook, stack):
        self.webhook, self.broker_url = webhook, broker.url
        self.agents = [
            Agent(broker.url, host, [f"{host}-vm", *(f"{host}-vm{n}" for n in range(1, 4))])
            for host in HOSTS
        ]
        groups = folder / "groups.yaml"
        groups.write_text("g: [" + ", ".join(f"{host}-vm" for host in HOSTS) + "]\n")
        settings = (
            f"[bus]\nurl = {broker.url}\n[database]\nconnection = {database_url}\n"
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory, broker, postgresql_server, _migrated):
    """One for all tests of a module: what a test leaves, the next one finds."""
    async with contextlib.AsyncExitStack() as stack:
        webhook = await stack.enter_async_context(Webhook())
        folder = tmp_path_factory.mktemp("cloud")
        url = postgresql_server.make_database(_migrated)
        made = Cloud(folder, broker, url, webhook, stack)
        await made.start()
        await made.join()
        yield made
