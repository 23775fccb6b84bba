"""The guest daemon in a real VM: what the guest's own /proc says of it.

The VM is emulated (TCG), so a second of its CPU does some tenth of the work that a real one does:
read CPU and start beside the reference, which ran in the same VM.
"""

import base64
import socket
import tempfile
import time
from pathlib import Path

from benchmarks import reference_guest
from benchmarks.guest_figures import Figures, results
from benchmarks.guest_host import GuestPort, challenge_all
from benchmarks.results import Result
from reachthru.demo.image import build_image
from reachthru.demo.qemu_vm import QemuVm
from reachthru.demo.vm import Vm

STARTS = 5
SECONDS_AT_MS = {1000: 10.0, 100: 5.0}
PORT = "/dev/virtio-ports/cgcs.messaging"
SETTINGS = f'[channel]\nport = "virtio://{PORT}"\n[heartbeat]\ninterval_ms = 1000\n'
DAEMON = "python3 -I -S -m reachthru.guest_daemon run --config /run/reachthru/guest.toml"
REFERENCE = f"python3 -I -S /tmp/reference_guest.py {PORT}"
EMULATED = "in an emulated VM; "


def run() -> list[Result]:
    print("guest: in a VM ...", flush=True)
    image = build_image(Path("build"), lambda step: print(f"guest: {step}", flush=True))
    with tempfile.TemporaryDirectory(prefix="reachthru-") as name:
        folder = Path(name)
        with (
            QemuVm(image, folder, folder, SETTINGS) as vm,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(str(vm.port_path))
            vm.wait_until_up()
            vm.stop_daemon()
            script = base64.b64encode(Path(reference_guest.__file__).read_bytes()).decode()
            vm.run(f"echo {script} | base64 -d >/tmp/reference_guest.py")
            ours, floor = (_measure(vm, connection, command) for command in (DAEMON, REFERENCE))
    return results(ours, floor, start="a shell's fork to Init", where=".vm", note=EMULATED)


def _measure(vm: Vm, connection: socket.socket, command: str) -> Figures:
    started_ms = []
    for number in range(STARTS):
        port = GuestPort(connection)
        began = time.monotonic()
        vm.door.run(f"setsid {command} </dev/null >/dev/null 2>&1 & echo $! >/run/bench.pid")
        port.wait_init()
        started_ms.append((time.monotonic() - began) * 1000)
        if number < STARTS - 1:
            _kill(vm)
    port.acknowledge()
    cpu_percent = {}
    for interval_ms, seconds in SECONDS_AT_MS.items():
        before_s = _cpu_s(vm)
        port.answers = 0
        challenge_all([(port, interval_ms)], seconds)
        cpu_percent[interval_ms] = (_cpu_s(vm) - before_s) / seconds * 100
    rss, pss = _mib(vm, "status", "VmRSS"), _mib(vm, "smaps_rollup", "Pss")
    _kill(vm)
    return Figures(sorted(started_ms), rss, pss, cpu_percent)


def _kill(vm: Vm) -> None:
    """And waits until it is gone, and its port free."""
    vm.run(f"kill -9 {_PID}; while [ -d /proc/{_PID} ]; do usleep 10000; done")


_PID = "$(cat /run/bench.pid)"


def _cpu_s(vm: Vm) -> float:
    return int(vm.run(f"cat /proc/{_PID}/schedstat").output.split()[0]) / 1e9


def _mib(vm: Vm, file: str, field: str) -> float:
    output = vm.run(f"grep '^{field}:' /proc/{_PID}/{file}").output
    return int(output.split()[1]) / 1024
