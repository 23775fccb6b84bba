"""The daemons themselves come through packaging/rabbitmq's door, by what their settings say."""

import asyncio
import contextlib
import json
import sys
import time
import urllib.request

import pytest

pytestmark = pytest.mark.xdist_group("rabbitmq")

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
                process.kill()
            await process.wait()


def bus(server, name):
    locks = server.locks
    lines = f"[bus]\nurl = {server.bus_url}\nca_file = {locks.ca_file}\n"
    return f"{lines}cert_file = {locks.certificate(name)}\n"


async def test_the_daemons_meet_on_a_locked_rabbitmq_and_leave_it(
    locked_rabbitmq, tmp_path, free_port
):
    ports = tmp_path / "ports"
    ports.mkdir()
    host, controller = tmp_path / "host.conf", tmp_path / "controller.conf"
    host.write_text(
        "[DEFAULT]\nhost = compute-2\n[discovery]\ndriver = directory\n"
        f"[directory]\npath = {ports}\n"
        f"[outbox]\npath = {tmp_path}/outbox.sqlite\n{bus(locked_rabbitmq, 'compute-2')}"
    )
    controller.write_text(
        f"[database]\nconnection = sqlite:///{tmp_path}/controller.sqlite\n"
        f"[api]\nlisten = 127.0.0.1:{free_port}\n{bus(locked_rabbitmq, 'controller-1')}"
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
            while (await asyncio.to_thread(hosts)).get("compute-2") != state:
                await asyncio.sleep(0.1)

    async def stop(process):
        process.terminate()
        started = time.monotonic()
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0
        assert time.monotonic() - started < 10  # on a busy machine; else one or two

    controller_log, host_log = tmp_path / "controller.log", tmp_path / "host.log"
    async with daemon("reachthru.controller_server.cli", controller, controller_log) as server:
        async with daemon("reachthru.host_agent.cli", host, host_log) as agent:
            await until("online")
            await stop(agent)
            await until("offline")  # it said goodbye
        await stop(server)
    for log in (controller_log, host_log):
        text = log.read_text()
        assert f"{locked_rabbitmq.bus_url}: connected" in text
        assert "ventlet" not in text
        assert "Traceback" not in text
        assert "PRIVATE KEY" not in text
        assert len(text.splitlines()) < 20, text
