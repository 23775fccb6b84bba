"""The daemons themselves come through packaging/mosquitto's door, by what their settings say."""

import asyncio
import contextlib
import json
import sys
import urllib.request

import pytest

DEADLINE_S = 40


@contextlib.asynccontextmanager
async def daemon(module, settings, log):
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, "--config-file", settings, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def bus(locked, name):
    cert_file = locked.locks.certificate(name)
    return f"[bus]\nurl = {locked.url}\nca_file = {locked.locks.ca_file}\ncert_file = {cert_file}\n"


async def test_the_daemons_meet_on_a_locked_broker(locked, tmp_path, free_port):
    ports = tmp_path / "ports"
    ports.mkdir()
    host, controller = tmp_path / "host.conf", tmp_path / "controller.conf"
    host.write_text(
        "[DEFAULT]\nhost = compute-0\n[discovery]\ndriver = directory\n"
        f"[directory]\npath = {ports}\n"
        f"[outbox]\npath = {tmp_path}/outbox.sqlite\n{bus(locked, 'compute-0')}"
    )
    controller.write_text(
        f"[database]\nconnection = sqlite:///{tmp_path}/controller.sqlite\n"
        f"[api]\nlisten = 127.0.0.1:{free_port}\n{bus(locked, 'controller-1')}"
    )

    def hosts():
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{free_port}/v1/hosts", timeout=2) as answer,
        ):
            return {host["host"]: host["state"] for host in json.load(answer)["hosts"]}
        return {}

    async def until(state):
        async with asyncio.timeout(DEADLINE_S):
            while (now := await asyncio.to_thread(hosts)) != {"compute-0": state}:
                assert len(now) <= 1
                await asyncio.sleep(0.1)

    controller_log = tmp_path / "controller.log"
    async with daemon("reachthru.controller_server.cli", controller, controller_log):
        async with daemon("reachthru.host_agent.cli", host, tmp_path / "host.log") as agent:
            await until("online")
            agent.kill()
            await until("offline")
        logs = controller_log.read_text() + (tmp_path / "host.log").read_text()
    assert "connected, MQTT 5" in logs
    assert "PRIVATE KEY" not in logs


@pytest.mark.parametrize("module", ["reachthru.controller_server.cli", "reachthru.host_agent.cli"])
async def test_a_door_that_can_not_work_ends_the_start_with_one_line(tmp_path, module):
    settings, log = tmp_path / "settings.conf", tmp_path / "log"
    settings.write_text(
        "[bus]\nurl = mqtts://127.0.0.1:1\ncert_file = /nowhere\n"
        + ("[discovery]\ndriver = directory\n" if "host_agent" in module else "")
    )
    async with daemon(module, settings, log) as process, asyncio.timeout(DEADLINE_S):
        assert await process.wait() == 2
    (line,) = log.read_text().splitlines()
    assert "[bus] cert_file = /nowhere" in line
    assert "No such file" in line
