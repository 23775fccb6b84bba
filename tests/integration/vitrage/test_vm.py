"""A kernel panic in a real VM, to an alarm of a real Vitrage."""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from reachthru.demo.image import build_image
from reachthru.demo.processes import Process
from reachthru.demo.qemu_vm import QemuVm
from reachthru.demo.stack import installed

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

BUILD_DIR = Path(__file__).resolve().parents[3] / "build"
VITRAGE = "[sinks]\nenabled = vitrage\n[sink_vitrage]\nurl = {bus}\n"
HOST = (
    "[DEFAULT]\nhost = compute-0\n[discovery]\ndriver = directory\n[directory]\npath = {folder}\n"
    "[bus]\nurl = {bus}\n[outbox]\npath = {folder}/outbox.sqlite\n"
)
GUEST = '\n[heartbeat]\nservice_level = "SAL1"\n'


@pytest.fixture
def folder():
    """Not pytest's own: a UNIX socket's path has 107 bytes at most."""
    path = Path(tempfile.mkdtemp(prefix="reachthru-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def until(condition):
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_kernel_panic_is_an_alarm_until_the_vm_is_well(
    vitrage, mosquitto, make_controller, folder
):
    controller = await make_controller(VITRAGE.format(bus=vitrage.bus_url))
    settings = folder / "host.conf"
    settings.write_text(HOST.format(folder=folder, bus=mosquitto.url))
    image = build_image(BUILD_DIR, guest_agent=True)

    async def is_well():
        found = (await controller.get("/v1/instances"))["instances"]
        return any(one["uuid"] == vm.uuid and one["health"] == "healthy" for one in found)

    async def is_an_alarm():
        found = await asyncio.to_thread(vitrage.alarms)
        return vm.uuid in {alarm["resource_id"] for alarm in found}

    command = [str(installed("reachthru-host")), "--config-file", str(settings)]
    with Process(command, folder / "host.log"), QemuVm(image, folder, folder, GUEST) as vm:
        await until(is_well)
        vm.save_state()
        panicked_at = time.monotonic()
        vm.panic()
        await until(is_an_alarm)
        print(f"kernel panic to alarm: {time.monotonic() - panicked_at:.2f} s")
        vm.load_state()

        async def is_over():
            return not await is_an_alarm()

        await until(is_over)
