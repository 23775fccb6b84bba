"""Vitrage's own code: its graph in one process, and its services with all that they need."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from lab.controllers import Controller, Mosquitto, free_port
from lab.vitrage import PLUGIN, PROGRAMS, Vitrage, environment, write_settings
from servers.mariadb import MariadbServer

DEADLINE_S = 60


async def until(condition, deadline_s=DEADLINE_S):
    """`condition` may block: it is asked in a thread."""
    async with asyncio.timeout(deadline_s):
        while not (found := await asyncio.to_thread(condition)):
            await asyncio.sleep(0.02)
        return found


class GraphProcess:
    """Vitrage's graph; `do` answers the alarms that are active after the steps."""

    def __init__(self, folder: Path, controller_url: str, reachthru: str = "") -> None:
        self.log = folder / "graph.log"
        settings = write_settings(
            folder, bus_url="fake://", controller_url=controller_url, reachthru=reachthru
        )
        self._process = subprocess.Popen(
            [PROGRAMS / "python", Path(__file__).with_name("graph_process.py"), settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("wb"),
            text=True,
            env=environment(),
        )

    def ready(self):
        line = self._process.stdout.readline()
        assert line == "ready\n", self.log.read_text()[-4000:]

    def do(self, *steps):
        self._process.stdin.write(json.dumps(steps) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.log.read_text()[-4000:]
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def graph_process(tmp_path_factory):
    """Without a controller to take snapshots from."""
    process = GraphProcess(tmp_path_factory.mktemp("graph"), "http://127.0.0.1:9")
    process.ready()
    yield process
    process.close()


@pytest.fixture(scope="package")
def vitrage(rabbitmq_server, tmp_path_factory):
    """Its services; controllers of tests listen on `vitrage.controller_port`, one at a time."""
    port = free_port()
    with (
        MariadbServer() as database,
        Vitrage(
            tmp_path_factory.mktemp("vitrage"),
            bus_url=rabbitmq_server.url + rabbitmq_server.make_vhost(),
            database_url=database.make_database(),
            controller_url=f"http://127.0.0.1:{port}",
        ) as services,
    ):
        services.controller_port = port
        yield services


@pytest.fixture(scope="package")
def templates(vitrage):
    """All of ours are in use from now on; Vitrage is slower with them."""
    vitrage.add_templates(*PLUGIN.glob("templates/*.yaml"))


@pytest.fixture(scope="package")
def mosquitto(tmp_path_factory):
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture
async def make_controller(vitrage, mosquitto, tmp_path):
    """make_controller(settings): a started one, at which Vitrage takes its snapshots."""
    made = []

    async def make(settings):
        controller = Controller(
            tmp_path / "controller",
            f"[bus]\nurl = {mosquitto.url}\n"
            f"[database]\nconnection = sqlite:///{tmp_path}/controller.sqlite\n{settings}\n",
            vitrage.controller_port,
        )
        made.append(controller)
        await controller.start()
        return controller

    yield make
    for controller in made:
        if controller.process.returncode is None:
            await controller.kill()
