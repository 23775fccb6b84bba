"""The public Python client, against a real daemon and a host written from the contract."""

import asyncio
import socket
import subprocess
import sys
import threading

import pytest

from reachthru.guest_daemon.client import (
    AsyncClient,
    Broadcast,
    Client,
    DoorError,
    Members,
    NoDaemonError,
    Notification,
    Refused,
)


@pytest.fixture
def attached(start_guest, attach, wait_until):
    guest = start_guest()
    host = attach()
    host.register()
    wait_until(guest.door_path.exists)
    return guest, host


@pytest.fixture
def path(attached):
    return str(attached[0].door_path)


@pytest.fixture
def answering(attached):
    """The host answers one status query, beside what the test does."""
    thread = threading.Thread(target=attached[1].answer_query, args=([{"instance_id": "i-1"}],))
    thread.start()
    yield
    thread.join()


def test_an_application_takes_part_in_its_vms_health(attached, path):
    _guest, host = attached
    with Client(path) as client:
        client.register("billing", interval_ms=60_000)
        client.beat(healthy=False, log_msg="queue stuck")
        assert host.challenge(1)["log_msg"] == "application billing: queue stuck"
        assert client.status()["healthy"] is client.check()["healthy"] is False
        client.leave()
    assert host.challenge(2)["heartbeat_health"] == "healthy"


def test_broadcasts_events_and_members(attached, path, answering):
    _guest, host = attached
    with Client(path) as client:
        assert client.members() == Members([{"instance_id": "i-1"}])
        client.listen()
        number = client.broadcast("héllo")
        assert host.receive_group("broadcast")["data"] == "héllo"
        host.send_group(msg_type="nack", orig_msg_type="broadcast", log_msg="no server group")
        host.send_group(msg_type="broadcast", source_instance="i-2", data="x")
        host.send_group(msg_type="notification", data={"state": "stopped"})
        assert list(client.events(timeout_s=0.3)) == [
            Refused("broadcast", "no server group", number),
            Broadcast("i-2", "x"),
            Notification({"state": "stopped"}),
        ]
        assert client.next_event(timeout_s=0) is None


def test_events_that_come_before_an_answer_are_kept(attached, path):
    _guest, host = attached
    with Client(path) as client:
        client.listen()
        host.send_group(msg_type="broadcast", source_instance="i-2", data="x")
        host.challenge(1)
        client.status()
        assert client.next_event(timeout_s=0) == Broadcast("i-2", "x")


@pytest.mark.parametrize("text", ["x" * 3051, "a\nb", "\ud800"])
def test_what_cant_be_broadcast_is_an_error_and_the_client_goes_on(path, text):
    with Client(path) as client:
        with pytest.raises(DoorError):
            client.broadcast(text)
        client.broadcast("fine")


def test_no_daemon_is_an_error_of_its_own(tmp_path):
    with pytest.raises(NoDaemonError, match="no reachthru-guest is running here"):
        Client(str(tmp_path / "none"))


def test_a_daemon_that_never_answers_is_given_up_and_not_mistaken_later(tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "door"))
        deaf.listen()
        with Client(str(tmp_path / "door"), timeout_s=0.1) as client:
            for _ in range(2):
                with pytest.raises(DoorError, match=r"no answer within 0\.1 s"):
                    client.status()


async def test_the_asynchronous_client_does_the_same(attached, path, answering):
    _guest, host = attached
    async with AsyncClient(path) as client:
        await client.register("billing", interval_ms=60_000)
        assert await client.members() == Members([{"instance_id": "i-1"}])
        await client.listen()
        await asyncio.gather(*(client.beat() for _ in range(20)))
        assert await client.broadcast("x") == 1
        host.send_group(msg_type="broadcast", source_instance="i-2", data="y")
        async with asyncio.timeout(5):
            assert await client.next_event() == Broadcast("i-2", "y")
        with pytest.raises(DoorError, match="3051 bytes"):
            await client.broadcast("x" * 3051)
        assert (await client.status())["healthy"] is True
        await client.leave()


async def test_the_asynchronous_client_hears_that_the_daemon_has_gone(attached, path):
    guest, _host = attached
    async with AsyncClient(path) as client:
        await client.listen()
        waiting = asyncio.create_task(client.next_event())
        await asyncio.to_thread(guest.stop)
        with pytest.raises(DoorError, match="the daemon closed the connection"):
            await waiting
        with pytest.raises(DoorError, match="the daemon closed the connection"):
            await client.status()


async def test_without_a_daemon_the_asynchronous_client_says_so(tmp_path):
    with pytest.raises(NoDaemonError):
        async with AsyncClient(str(tmp_path / "none")):
            pass


def test_only_who_asks_for_it_gets_asyncio():
    program = (
        "import sys; from reachthru.guest_daemon.client import Client; "
        "print('asyncio' in sys.modules); from reachthru.guest_daemon.client import AsyncClient; "
        "print('asyncio' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["False", "True"]
