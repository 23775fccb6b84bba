"""A VM with Debian 12 and systemd, and our packages beside it at /debs."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.debs import ROOT
from lab.systemd_vm import SystemdVm, build_system, make_ext4


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            if not item.get_closest_marker("every_run"):
                item.add_marker(pytest.mark.packages)
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="module")
def boot(witness):
    """`with boot(debs, folder, ports) as vm`: up, with the packages in `debs` at /debs, and with
    what `also` names of Debian's.
    """

    @contextmanager
    def boot(debs, folder, ports, also=()):
        image, disk = build_system(ROOT / "build", also)
        with tempfile.TemporaryDirectory(prefix="rt-debs-") as scratch:
            debs_disk = Path(scratch, "debs")
            size_mib = sum(path.stat().st_size for path in debs.iterdir()) // 2**20 * 5 // 4 + 16
            make_ext4(debs, debs_disk, size_mib)
            with SystemdVm(image, disk, debs_disk, folder, ports) as vm:
                forget = witness("the VM's console", vm.console_text)
                vm.wait_until_up(180)
                yield vm
                forget()

    return boot
