"""Connecting, again and again, and never so often that it costs others anything."""

import asyncio
import errno
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reachthru.host_agent import attach
from reachthru.host_agent.attach import PROMPT_BURST, Attacher
from reachthru.host_agent.channel import Channel
from reachthru.protocol.codec import Dialect
from reachthru.protocol.heartbeat.events import HostEvent
from reachthru.protocol.heartbeat.host import HostHeartbeat, HostPolicy


class Case:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "port.sock"
        self.refused: list[int] = []
        self.connections = 0
        self.attacher = Attacher(
            asyncio.get_running_loop(),
            on_connected=self._connected,
            on_refused=lambda _channel, code: self.refused.append(code),
        )
        core = HostHeartbeat(HostPolicy(), lambda: 1)
        self.channel = Channel("u", "cgcs.messaging", Dialect.MUX, core, self)

    def heard(self, channel: Channel, events: list[HostEvent], now: float) -> None: ...

    def _connected(self, channel: Channel, sock: socket.socket) -> None:
        self.connections += 1
        channel.attach(sock)

    def hang_up(self) -> None:
        self.channel.detach()
        self.attacher.again(self.channel)

    def listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(1000)
        return listener

    async def connected(self, count: int = 1) -> None:
        async with asyncio.timeout(5):
            while self.connections < count:
                await asyncio.sleep(0.001)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rt-") as name:  # tmp_path is too long for a socket
        yield Path(name)


async def test_a_port_that_is_not_there_yet_is_connected_once_it_is(folder: Path) -> None:
    case = Case(folder)
    case.attacher.want(case.channel, str(case.path))
    await asyncio.sleep(0.12)
    assert set(case.refused) == {errno.ENOENT}
    with case.listen():
        await case.connected()
    case.channel.detach()
    case.attacher.close()


async def test_a_stale_socket_is_told_from_a_missing_one(folder: Path) -> None:
    case = Case(folder)
    case.listen().close()
    case.attacher.want(case.channel, str(case.path))
    await asyncio.sleep(0.02)
    assert case.refused == [errno.ECONNREFUSED]
    case.attacher.close()


async def test_a_port_that_hung_up_is_connected_at_once(folder: Path) -> None:
    case = Case(folder)
    with case.listen():
        case.attacher.want(case.channel, str(case.path))
        await case.connected()
        case.hang_up()
        assert case.connections == 2
    case.channel.detach()
    case.attacher.close()


async def test_somebody_who_accepts_and_hangs_up_without_end_is_not_humoured(folder: Path) -> None:
    case = Case(folder)
    with case.listen():
        case.attacher.want(case.channel, str(case.path))
        await case.connected()
        for _ in range(10 * PROMPT_BURST):
            if case.channel.sock is not None:
                case.hang_up()
        assert case.connections <= PROMPT_BURST + 5
        await case.connected(case.connections + 1)
    case.channel.detach()
    case.attacher.close()


async def test_what_is_forgotten_is_not_connected_any_more(folder: Path) -> None:
    case = Case(folder)
    case.attacher.want(case.channel, str(case.path))
    await asyncio.sleep(0.02)
    case.attacher.forget(case.channel)
    with case.listen():
        await asyncio.sleep(0.2)
    assert case.connections == 0
    case.attacher.close()


async def test_a_path_that_no_socket_can_have_is_an_attempt_that_failed(folder: Path) -> None:
    case = Case(folder)
    case.attacher.want(case.channel, "/" + "x" * 200)
    await asyncio.sleep(0.02)
    assert case.refused == [errno.ENAMETOOLONG]
    case.attacher.close()


async def test_a_socket_that_this_user_may_not_use_is_said_once_with_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(attach, "_connect", lambda _path: (errno.EACCES, None))  # we may be root
    case = Case(folder)
    case.attacher.want(case.channel, str(case.path))
    async with asyncio.timeout(5):
        while len(case.refused) < 3:
            await asyncio.sleep(0.001)
    case.attacher.close()
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert str(case.path) in line
    assert "permission denied" in line
    assert "libvirt-qemu" in line


async def test_too_few_open_files_are_said_once_for_all_guests_and_are_no_refusal_of_theirs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = []

    def out_of_files(path: str) -> tuple[int, None]:
        attempts.append(path)
        return errno.EMFILE, None

    monkeypatch.setattr(attach, "_connect", out_of_files)
    case = Case(folder)
    core = HostHeartbeat(HostPolicy(), lambda: 1)
    another = Channel("v", "cgcs.messaging", Dialect.MUX, core, case)
    case.attacher.want(case.channel, str(case.path))
    case.attacher.want(another, str(case.path))
    async with asyncio.timeout(5):
        while len(attempts) < 6:
            await asyncio.sleep(0.001)
    case.attacher.close()
    assert case.refused == []
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "2 of 2 guests' ports" in line
    assert "LimitNOFILE=" in line
