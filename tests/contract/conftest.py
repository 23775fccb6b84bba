"""Carriers to hold to the contract, each with a way to cut it off.

Another carrier joins by a subclass of `Carrier`, and its name in `CARRIERS` (and in `REMOTE`, if it
has a broker that can freeze); `open_carrier` makes one for a test.
"""

import asyncio
import contextlib
import json
import signal
import struct
import subprocess
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import kombu
import pytest
import trustme

from reachthru.bus import BusDoor, ControllerBus, controller_bus, memory
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

Kill = Callable[[], Coroutine[None, None, None]]


class Carrier(ABC):
    """A broker that a test can cut off, heal, and speak to in bad grammar.

    A test has it for itself: no message of another test may arrive.
    """

    url: str

    @abstractmethod
    async def cut(self) -> None:
        """Every connection through `url` breaks, and new ones are refused, until `heal`."""

    @abstractmethod
    async def heal(self) -> None: ...

    @abstractmethod
    async def vanish(self, host: str) -> None:
        """The agent of `host`, the only one, is gone without a word."""

    @abstractmethod
    async def publish_up(self, host: str, payload: bytes) -> None:
        """As if the agent of `host` had sent `payload` as work."""

    @abstractmethod
    async def publish_news(self, host: str, payload: bytes) -> None:
        """As if the agent of `host` had sent `payload` as news."""

    @abstractmethod
    async def mortal_controller(self, name: str) -> tuple[ControllerBus, Kill]:
        """A controller, not entered yet, and what kills it: the others stay connected."""


class RemoteCarrier(Carrier):
    """One whose broker can stop answering."""

    @abstractmethod
    async def freeze(self) -> None:
        """Connections stay, new ones are accepted, and nothing moves, until `thaw`."""

    @abstractmethod
    async def thaw(self) -> None: ...


class MemoryCarrier(Carrier):
    def __init__(self) -> None:
        name = uuid.uuid4().hex
        self.url = f"memory://{name}"
        self._broker = memory.broker(name)

    async def cut(self) -> None:
        self._broker.cut()

    async def heal(self) -> None:
        self._broker.heal()

    async def vanish(self, host: str) -> None:
        self._broker.kill(host)

    async def publish_up(self, host: str, payload: bytes) -> None:
        self._broker.publish_up(host, payload)

    async def publish_news(self, host: str, payload: bytes) -> None:
        self._broker.publish_news(host, payload)

    async def mortal_controller(self, name: str) -> tuple[ControllerBus, Kill]:
        async def kill() -> None:
            self._broker.kill_controller(name)

        return controller_bus(self.url, name), kill


class Proxy:
    """Forwards TCP connections to a port, until it is told to drop or to freeze them."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.frozen = False
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def drop(self) -> None:
        """Every connection breaks, and new ones are refused."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, there_writer}
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                while self.frozen:
                    await asyncio.sleep(0.01)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


class MqttCarrier(RemoteCarrier):
    """A broker behind a proxy. Agents and controllers come through the proxy."""

    def __init__(self, port: int, stack: contextlib.AsyncExitStack) -> None:
        self._broker_port = port
        self._stack = stack
        self.proxy = Proxy(port)

    async def open(self) -> None:
        await self.proxy.open()
        self._stack.push_async_callback(self.proxy.drop)
        self.url = f"mqtt://127.0.0.1:{self.proxy.port}"

    @property
    def direct_url(self) -> str:
        return f"mqtt://127.0.0.1:{self._broker_port}"

    async def cut(self) -> None:
        await self.proxy.drop()

    async def heal(self) -> None:
        await self.proxy.open()

    async def vanish(self, host: str) -> None:
        await self.proxy.drop()

    async def freeze(self) -> None:
        self.proxy.frozen = True

    async def thaw(self) -> None:
        self.proxy.frozen = False

    async def mortal_controller(self, name: str) -> tuple[ControllerBus, Kill]:
        proxy = Proxy(self._broker_port)
        await proxy.open()
        self._stack.push_async_callback(proxy.drop)
        return controller_bus(f"mqtt://127.0.0.1:{proxy.port}", name), proxy.drop

    async def publish_up(self, host: str, payload: bytes) -> None:
        await self._publish(f"reachthru/1/agent/{host}/up", payload)

    async def publish_news(self, host: str, payload: bytes) -> None:
        await self._publish(f"reachthru/1/agent/{host}/news", payload)

    async def _publish(self, topic: str, payload: bytes) -> None:
        """By hand: MQTT 3.1.1, CONNECT and a PUBLISH of QoS 0."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        writer.write(_packet(0x10, _text("MQTT") + b"\x04\x02\x00\x3c" + _text(uuid.uuid4().hex)))
        await reader.readexactly(4)
        writer.write(_packet(0x30, _text(topic) + payload))
        writer.write(_packet(0xE0, b""))
        await writer.drain()
        writer.close()


class RabbitCarrier(RemoteCarrier):
    """A virtual host of RabbitMQ, behind a proxy. Agents and controllers come through the proxy."""

    def __init__(self, port: int, vhost: str, stack: contextlib.AsyncExitStack) -> None:
        self._broker_port = port
        self._vhost = vhost
        self._stack = stack
        self.proxy = Proxy(port)

    async def open(self) -> None:
        await self.proxy.open()
        self._stack.push_async_callback(self.proxy.drop)
        self.url = f"rabbit://127.0.0.1:{self.proxy.port}/{self._vhost}"

    async def cut(self) -> None:
        await self.proxy.drop()

    async def heal(self) -> None:
        await self.proxy.open()

    async def vanish(self, host: str) -> None:
        await self.proxy.drop()

    async def freeze(self) -> None:
        self.proxy.frozen = True

    async def thaw(self) -> None:
        self.proxy.frozen = False

    async def mortal_controller(self, name: str) -> tuple[ControllerBus, Kill]:
        proxy = Proxy(self._broker_port)
        await proxy.open()
        self._stack.push_async_callback(proxy.drop)
        return controller_bus(f"rabbit://127.0.0.1:{proxy.port}/{self._vhost}", name), proxy.drop

    async def publish_up(self, host: str, payload: bytes) -> None:
        await asyncio.to_thread(self._publish, f"reachthru.1.agent.{host}.up.info", payload)

    async def publish_news(self, host: str, payload: bytes) -> None:
        await asyncio.to_thread(self._publish, f"reachthru.1.agent.{host}.news.info", payload)

    def _publish(self, key: str, payload: bytes) -> None:
        """As oslo.messaging wraps it."""
        text = payload.decode(errors="surrogateescape")
        body = {"oslo.version": "2.0", "oslo.message": json.dumps({"messages": [text]})}
        url = f"amqp://guest:guest@127.0.0.1:{self._broker_port}/{self._vhost}"
        options = {"confirm_publish": True}
        with kombu.Connection(url, transport_options=options) as connection:
            connection.Producer().publish(body, exchange="amq.topic", routing_key=key)


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([kind]) + digits + body


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
    await way.drop()


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
    await way.drop()


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
                rabbit = RabbitCarrier(server.port, server.make_vhost(), stack)
                await rabbit.open()
                yield rabbit
                return
            case "embedded":
                port = (await stack.enter_async_context(EmbeddedBroker(0))).port
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
