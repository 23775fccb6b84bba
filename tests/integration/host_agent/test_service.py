"""What the service manager, the operator and a machine without libvirt see of the agent."""

import asyncio
import contextlib
import socket
import statistics

import pytest

INTERVAL_MS = 100


async def test_an_interval_of_100_ms_stays_100_ms(lab) -> None:
    players = await lab.play("--interval-ms", str(INTERVAL_MS), "--delay-ms", "20", count=5)
    await lab.start()
    await lab.registered(*players.uuids)
    await asyncio.sleep(5.0)
    for guest in await players.summary():
        gaps = guest["gaps_ms"][1:]  # the first one ends on the grid of ticks
        assert len(gaps) > 40
        assert statistics.median(gaps) == pytest.approx(INTERVAL_MS, abs=1.0)


async def test_the_service_manager_hears_that_it_is_ready_alive_and_stopping(
    lab, monkeypatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(lab.folder / "notify"))
        manager.setblocking(False)
        said: list[str] = []
        # Read as it comes: the kernel keeps some ten datagrams and drops the rest.
        loop = asyncio.get_running_loop()
        loop.add_reader(manager, lambda: said.append(manager.recv(1000).decode()))
        monkeypatch.setenv("NOTIFY_SOCKET", str(lab.folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        await lab.play("--interval-ms", "200", count=3)
        await lab.start()
        await asyncio.sleep(1.5)
        await lab.agent.terminate()
        loop.remove_reader(manager)
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(manager.recv(1000).decode())
    assert said[-1] == "STOPPING=1"
    assert "READY=1" in said
    assert 4 <= said.count("WATCHDOG=1") <= 10
    assert any(text.startswith("STATUS=") and "active faults" in text for text in said)


async def test_a_libvirt_that_is_down_is_said_once_and_the_agent_stops_in_time(lab) -> None:
    pytest.importorskip("libvirt")
    settings = lab.folder / "host.conf"
    text = settings.read_text().replace("driver = directory", "driver = libvirt")
    uri = f"qemu+unix:///system?socket={lab.folder}/nobody"
    settings.write_text(f"{text}\n[libvirt]\nconnection_uri = {uri}\n")
    await lab.start()
    await asyncio.sleep(1.5)
    assert lab.agent.log.count(uri) == 1
    assert await lab.agent.terminate() < 1.0
