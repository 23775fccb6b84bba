"""An image that diskimage-builder itself makes with our element. It boots with its own kernel."""

import os
import subprocess

import pytest

from lab.debs import ROOT, build_debs
from reachthru.demo.image import GuestImage
from reachthru.demo.qemu_vm import QemuVm

CACHE = ROOT / "build/cache/diskimage-builder"
MIRROR = "http://deb.debian.org"
# No partitions, and so no boot loader: not every machine that builds has the device mapper.
ELEMENTS = ["debian-minimal", "baremetal", "reachthru-guest"]


class ImageVm(QemuVm):
    """The image's own kernel and initramfs; what is written is gone with the machine."""

    def __init__(self, made, stack):
        image = GuestImage(made.with_suffix(".vmlinuz"), made.with_suffix(".initrd"))
        super().__init__(image, stack.folder, stack.ports, settings=None, memory_mib=1024)
        self._disk = made.with_suffix(".raw")

    def _command(self):
        command = super()._command()
        command[command.index("-append") + 1] += " root=/dev/vda systemd.show_status=1"
        return [*command, "-drive", f"file={self._disk},format=raw,if=virtio,snapshot=on"]


@pytest.fixture
def image(tmp_path):
    build_debs(tmp_path, "reachthru-guest")
    settings = tmp_path / "guest.toml"
    settings.write_text("[heartbeat]\ninterval_ms = 700\n")
    CACHE.mkdir(parents=True, exist_ok=True)
    tools = ROOT / ".venv-diskimage-builder/bin"
    environment = {
        **os.environ,
        "PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin",
        "ELEMENTS_PATH": str(ROOT / "packaging/image/elements"),
        "DIB_REACHTHRU_GUEST_PACKAGE": str(next(tmp_path.glob("*.deb"))),
        "DIB_REACHTHRU_GUEST_CONFIG": str(settings),
        "DIB_RELEASE": "bookworm",
        "DIB_DISTRIBUTION_MIRROR": f"{MIRROR}/debian",
        "DIB_DEBIAN_SECURITY_MIRROR": f"{MIRROR}/debian-security",
        "DIB_IMAGE_CACHE": str(CACHE),
        "TMP_DIR": str(tmp_path),
    }
    environment.pop("PYTHONPATH", None)  # dib's own Python has dib's own modules
    made = tmp_path / "image"
    log = tmp_path / "log"
    with log.open("w") as said:
        done = subprocess.run(
            [tools / "disk-image-create", "-t", "raw", "-o", made, *ELEMENTS],
            env=environment,
            stdout=said,
            stderr=said,
            check=False,
        )
    assert done.returncode == 0, log.read_text()[-3000:]
    return made


def test_an_image_with_the_element_is_heartbeated_once_it_has_booted(stack, image, witness):
    with ImageVm(image, stack) as vm:
        forget = witness("the image's console", vm.console_text)
        stack.wait_registered(vm.uuid, timeout_s=300)
        assert stack.instance(vm.uuid)["interval_ms"] == 700  # DIB_REACHTHRU_GUEST_CONFIG
        forget()
