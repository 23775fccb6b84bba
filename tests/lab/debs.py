"""Our packages, built as `make deb` does it, and what they do to a VM."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = re.search(
    r'^__version__ = "(.*)"', (ROOT / "src/reachthru/__init__.py").read_text(), re.M
)[1]
# Wherever a package may leave something; dpkg and apt keep books of their own.
_LIST_FILES = (
    "find /etc /usr /lib /opt /srv /run/reachthru /var/lib"
    " -path /var/lib/dpkg -prune -o -path /var/lib/apt -prune -o -print 2>/dev/null | sort >"
)
_USERS_BACKUPS = {f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow")}


def build_debs(folder, *packages, version=None):
    """As `make deb` does; of a version that is said where there must be two."""
    command = [ROOT / "tools/build-deb", "--out", folder, *packages]
    command += ["--version", version] if version else []
    subprocess.run(command, check=True)


def note_files(vm):
    """What an empty Debian has, for `assert_purged`."""
    vm.run(f"{_LIST_FILES} /tmp/files-before", 60)


def what_is_new(vm):
    """The files that were not there at `note_files`."""
    vm.run(f"{_LIST_FILES} /tmp/files-after", 60)
    return vm.check("comm -13 /tmp/files-before /tmp/files-after").splitlines()


def times_started(vm, unit):
    """How often systemd has started `unit` since the VM is up."""
    said = vm.check(f"journalctl --unit {unit} --output cat")
    return sum(line.startswith("Started ") for line in said.splitlines())


def assert_purged(vm):
    """No file, user or group is there that was not there at `note_files`."""
    assert set(what_is_new(vm)) <= _USERS_BACKUPS | {"/etc/.pwd.lock"}
    assert vm.run("(getent passwd; getent group) | grep reachthru").output == ""
