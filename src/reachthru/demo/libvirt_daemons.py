"""libvirt's daemons where no service manager runs them: in containers and test machines.

`python -m reachthru.demo.libvirt_daemons` runs virtlogd and libvirtd for as long as somebody is
inside `libvirt_running()`, in whatever process. It does three things that a plain `libvirtd -d`
would not:

* It adopts and reaps what libvirt leaves behind. libvirt waits for a killed QEMU's pid to vanish
  before it says that the domain is gone; a container's first process may take seconds to reap it.
* It hides /dev/kvm. Where that is there but unusable, libvirt probes every QEMU binary afresh at
  each call, four seconds at a time; and the lab uses software emulation anyway.
* At its end it removes the lab's domains that a killed test left behind.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import libvirt

from reachthru.demo.errors import DemoError

CONNECTION_URI = "qemu:///system"
DOMAIN_TITLE = "reachthru lab"
# Users hold the first one shared, so that the kernel lets go of it for one that was killed. Who
# starts the daemons holds the second one.
_USERS_LOCK = Path("/run/reachthru-lab.users")
_START_LOCK = Path("/run/reachthru-lab.start")
_LOG = Path("/run/reachthru-lab.log")
_START_TIMEOUT_S = 30
_POLL_S = 0.05
_IDLE_CHECK_S = 0.5
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
# In a mount namespace of its own: $1 is a file that nobody may open, $2 is libvirt's settings.
_WITHOUT_KVM = """
[ ! -e /dev/kvm ] || mount --bind "$1" /dev/kvm
mount --bind "$2" /etc/libvirt/qemu.conf
shift 2
exec "$@"
"""
# libvirt would move every mount below /dev into a namespace of each QEMU, and can't move a file's.
_SETTINGS = "namespaces = []\n"


class LibvirtError(DemoError):
    """libvirt is not there."""


@contextlib.contextmanager
def libvirt_running() -> Iterator[None]:
    """libvirt answers inside the block; what had to be started for that ends with its last user."""
    if os.geteuid() != 0:
        if not _answers():
            raise LibvirtError(f"nothing answers at {CONNECTION_URI}, and only root can start it")
        yield
        return
    with _USERS_LOCK.open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with _START_LOCK.open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not _answers():
                _start()
        yield


def _start() -> None:
    with _LOG.open("w") as log:
        daemons = subprocess.Popen(
            [sys.executable, "-m", "reachthru.demo.libvirt_daemons"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers():
        if daemons.poll() is not None or time.monotonic() > deadline:
            daemons.terminate()
            raise LibvirtError(f"libvirt did not start: {_LOG.read_text().strip()}")
        time.sleep(_POLL_S)


def _answers() -> bool:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # it prints by default
    try:
        libvirt.open(CONNECTION_URI).close()
    except libvirt.libvirtError:
        return False
    return True


def main() -> int:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory(prefix="reachthru-") as folder, _USERS_LOCK.open("w") as users:
        settings, nothing = Path(folder, "qemu.conf"), Path(folder, "nothing")
        settings.write_text(_SETTINGS)
        nothing.touch(mode=0)
        hidden = [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            _WITHOUT_KVM,
            "sh",
            str(nothing),
            str(settings),
        ]
        running = {subprocess.Popen([*hidden, name]).pid for name in ("virtlogd", "libvirtd")}
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.set())
        threading.Thread(target=_end_when_idle, args=(users, stop, set(running))).start()
        while running:  # and reap whatever else becomes ours
            running.discard(os.wait()[0])
    return 0


def _end_when_idle(users: IO[str], stop: threading.Event, daemons: set[int]) -> None:
    """Ends `daemons` when nobody uses libvirt any more, or when told to `stop`."""
    while not stop.wait(_IDLE_CHECK_S):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_leftovers()
            break
    for daemon in daemons:
        os.kill(daemon, signal.SIGTERM)


def _remove_leftovers() -> None:
    with contextlib.closing(libvirt.open(CONNECTION_URI)) as connection:
        for domain in connection.listAllDomains():
            with contextlib.suppress(libvirt.libvirtError):
                if domain.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None) == DOMAIN_TITLE:
                    remove(domain)


def end(domain: libvirt.virDomain) -> None:
    """Returns when it is off, also where its QEMU is dying already."""
    while domain.isActive():
        with contextlib.suppress(libvirt.libvirtError):  # it was quicker
            domain.destroy()


def remove(domain: libvirt.virDomain) -> None:
    """Ends it and forgets it."""
    end(domain)
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    domain.undefineFlags(flags | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)


if __name__ == "__main__":
    sys.exit(main())
