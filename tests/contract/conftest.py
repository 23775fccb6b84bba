"""Carriers for tests of the contract, and brokers with all their locks.

Another carrier joins by a subclass of `Carrier`, and its name in `CARRIERS` (and in `REMOTE`, if it
has a broker that can freeze); `open_carrier` makes one for a test.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import pytest
import trustme

from lab.carriers import Carrier, MemoryCarrier, MqttCarrier, RabbitCarrier, RemoteCarrier
from lab.proxy import Proxy
from reachthru.bus import BusDoor
from reachthru.controller_server.embedded_broker import EmbeddedBroker
from servers.ports import free_port
from servers.rabbitmq import RabbitMqServer

MOSQUITTO = "/usr/sbin/mosquitto"  # Debian's place; `make setup` installs it
PACKAGING = Path(__file__).parents[2] / "packaging"
RABBIT = pytest.param("rabbit", marks=pytest.mark.xdist_group("rabbitmq"))  # one server for all
SHARING = ["memory", "mosquitto", RABBIT]  # several controllers share the agents' work
REMOTE = ["embedded", "mosquitto", RABBIT]  # with a broker that a network leads to
CARRIERS = ["memory", *REMOTE]
WILLING = ["memory", "embedded", "mosquitto"]  # with last wills


@pytest.fixture(name="free_port")
def free_port_fixture() -> int:
    return free_port()


class Mosquitto:
    """A real broker on a free port. `settings` are lines of mosquitto.conf."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.log = folder / "mosquitto.log"
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(
            f"user root\nlog_dest file {self.log}\nlog_type all\n"
            f"listener {self.port} 127.0.0.1\n{settings}\n"
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO,
            "-c",
            self._settings,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for _ in range(500):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"mosquitto does not listen: {self.log.read_text()}")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()
        self._process = None

    async def stop(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            await self.kill()


@contextlib.asynccontextmanager
async def running(broker: Mosquitto) -> AsyncIterator[Mosquitto]:
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


@pytest.fixture
async def mosquitto(tmp_path) -> AsyncIterator[Mosquitto]:
    async with running(Mosquitto(tmp_path)) as broker:
        yield broker


@pytest.fixture
async def start_mosquitto(
    tmp_path,
) -> AsyncIterator[Callable[..., Coroutine[None, None, Mosquitto]]]:
    """Starts one with the lines of settings that it is given."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(settings: str) -> Mosquitto:
            return await stack.enter_async_context(running(Mosquitto(tmp_path, settings)))

        yield start


@pytest.fixture
async def proxy(mosquitto) -> AsyncIterator[Proxy]:
    """One client's own way to `mosquitto`."""
    way = Proxy(mosquitto.port)
    await way.open()
    yield way
    await way.cut()


class Locks:
    """An authority of its own, and the doors of those whom it vouches for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))
        self.broker = self.certificate("broker", "127.0.0.1")

    def certificate(
        self, name: str, *addresses: str, authority: trustme.CA | None = None, **options: object
    ) -> Path:
        """A file with key and chain, for the common name `name`; written over if it exists."""
        signer = authority or self._authority
        leaf = signer.issue_cert(*(addresses or (name,)), common_name=name, **options)  # type: ignore[arg-type]
        path = self._folder / f"{name}.pem"
        leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)
        return path

    def door(self, name: str) -> BusDoor:
        return BusDoor(ca_file=self.ca_file, cert_file=self.certificate(name))


class LockedMosquitto(Mosquitto):
    """What packaging/mosquitto says, with paths and port of this test."""

    def __init__(self, folder: Path) -> None:
        self.locks = Locks(folder)
        self.acl_file = folder / "acl"
        self.acl_file.write_text((PACKAGING / "mosquitto" / "acl").read_text())
        settings = (PACKAGING / "mosquitto" / "mosquitto.conf").read_text()
        for said, here in (
            ("listener 8883", ""),
            ("/etc/mosquitto/reachthru/ca.pem", self.locks.ca_file),
            ("/etc/mosquitto/reachthru/broker.pem", self.locks.broker),
            ("/etc/mosquitto/reachthru/broker.key", self.locks.broker),
            ("/etc/mosquitto/reachthru/acl", self.acl_file),
        ):
            assert said in settings
            settings = settings.replace(said, str(here))
        super().__init__(folder, settings)
        self.url = f"mqtts://127.0.0.1:{self.port}"


@pytest.fixture
async def locked(tmp_path) -> AsyncIterator[LockedMosquitto]:
    async with running(LockedMosquitto(tmp_path)) as broker:
        yield broker


@pytest.fixture
async def locked_proxy(locked) -> AsyncIterator[Proxy]:
    """A way to `locked` that a test can cut."""
    way = Proxy(locked.port)
    await way.open()
    yield way
    await way.cut()


RABBIT_USERS = ("compute-0.example.org", "compute-1", "compute-2")
RABBIT_CONTROLLERS = ("controller-1", "controller-2")


class LockedRabbitMq(RabbitMqServer):
    """What packaging/rabbitmq says, with paths and port of this test, and passwords let in too."""

    def __init__(self, folder: Path) -> None:
        self.locks = Locks(folder)
        self.passwords = folder / "passwords"
        self.passwords.mkdir()
        for name in (*RABBIT_USERS, *RABBIT_CONTROLLERS):
            (self.passwords / name).write_text(f"secret of {name}\n")
        super().__init__(plugins=("rabbitmq_auth_mechanism_ssl",))
        settings = (PACKAGING / "rabbitmq" / "rabbitmq.conf").read_text()
        for said, here in (
            ("= 5671", f"= 127.0.0.1:{self.port}"),
            ("/etc/rabbitmq/reachthru/ca.pem", self.locks.ca_file),
            ("/etc/rabbitmq/reachthru/broker.pem", self.locks.broker),
            ("/etc/rabbitmq/reachthru/broker.key", self.locks.broker),
            ("# auth_mechanisms.2", "auth_mechanisms.2"),
        ):
            assert said in settings
            settings = settings.replace(said, str(here))
        (self.folder / "rabbitmq.conf").write_text(settings)
        self.bus_url = f"rabbits://127.0.0.1:{self.port}/reachthru"

    def start(self) -> None:
        super().start()
        self.import_own_definitions()

    def import_own_definitions(self) -> None:
        command = [PACKAGING / "rabbitmq" / "reachthru-definitions", "--passwords", self.passwords]
        command += ["--agent", *RABBIT_USERS, "--controller", *RABBIT_CONTROLLERS]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        self.import_definitions(json.loads(done.stdout))


@pytest.fixture(scope="session")
def locked_rabbitmq(tmp_path_factory) -> Iterator[LockedRabbitMq]:
    with LockedRabbitMq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@contextlib.asynccontextmanager
async def open_carrier(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Carrier]:
    async with contextlib.AsyncExitStack() as stack:
        match request.param:
            case "memory":
                yield MemoryCarrier()
                return
            case "rabbit":
                server = request.getfixturevalue("rabbitmq_server")
                carrier = RabbitCarrier(server.port, stack, server.make_vhost())
            case "embedded":
                port = (await stack.enter_async_context(EmbeddedBroker(0))).port
                carrier = MqttCarrier(port, stack)
            case "mosquitto":
                port = (await stack.enter_async_context(running(Mosquitto(folder)))).port
                carrier = MqttCarrier(port, stack)
        await carrier.open()
        yield carrier


@pytest.fixture(params=CARRIERS)
async def carrier(request, tmp_path) -> AsyncIterator[Carrier]:
    async with open_carrier(request, tmp_path) as carrier:
        yield carrier


@pytest.fixture(params=SHARING)
async def sharing_carrier(request, tmp_path) -> AsyncIterator[Carrier]:
    async with open_carrier(request, tmp_path) as carrier:
        yield carrier


@pytest.fixture(params=WILLING)
async def willing_carrier(request, tmp_path) -> AsyncIterator[Carrier]:
    async with open_carrier(request, tmp_path) as carrier:
        yield carrier


@pytest.fixture(params=REMOTE)
async def remote_carrier(request, tmp_path) -> AsyncIterator[RemoteCarrier]:
    async with open_carrier(request, tmp_path) as carrier:
        assert isinstance(carrier, RemoteCarrier)
        yield carrier
