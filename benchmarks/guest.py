"""What the guest daemon costs its VM: memory, start, CPU at two intervals; here and in a VM.

Started as its package does it, with no `site`. The reference is a selectors loop with json, which
does nothing but answer (`reference_guest.py`). The host is this process: not counted.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec

import reachthru
from benchmarks import guest_vm
from benchmarks.guest_figures import Figures, results
from benchmarks.guest_host import LIMIT_S, GuestPort, challenge_all
from benchmarks.process import cpu_s, pss_mib, rss_mib
from benchmarks.results import Result, percentile

STARTS = 20
SECONDS = 20
INTERVALS_MS = (1000, 100)
DAEMON = "from reachthru.guest_daemon.cli import main; sys.exit(main())"
REFERENCE = "from benchmarks.reference_guest import main; main(sys.argv[1])"


# Memory in MiB, resident and in parts; CPU in percent of a core by interval in ms.
Life = tuple[float, float, dict[int, float]]


def run() -> list[Result]:
    return [*here(), *guest_vm.run()]


def here(starts: int = STARTS, seconds: float = SECONDS) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="reachthru-bench-") as folder:
        path = Path(folder) / "port.sock"
        daemon, reference = _daemon(Path(folder), path), [*_python(REFERENCE), str(path)]
        print(f"guest: {starts} starts ...", flush=True)
        ours, floor = _starts(path, daemon, reference, starts)
        print(f"guest: CPU for {seconds:g} s ...", flush=True)
        lives = _lives(path, daemon, reference, seconds)
    cpu_ms, floor_cpu_ms = (
        percentile(sorted(guest.start_cpu_ms for guest in started), 0.5)
        for started in (ours, floor)
    )
    return results(
        *(
            Figures(sorted(guest.started_ms for guest in started), *life)
            for started, life in zip((ours, floor), lives, strict=True)
        ),
        start=f"exec to Init, {cpu_ms:.0f} ms of it CPU, reference {floor_cpu_ms:.0f}",
    )


class Guest:
    """One program that connects to `path`. Entering returns when it has registered."""

    def __init__(self, path: Path, command: list[str]) -> None:
        self._path = path
        self._command = command

    def __enter__(self) -> Self:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._path))
            listener.listen(1)
            listener.settimeout(LIMIT_S)
            began = time.monotonic()
            self.process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
            connection, _ = listener.accept()
            self.port = GuestPort(connection)
            self.port.wait_init()
            self.started_ms = (time.monotonic() - began) * 1000
            self.start_cpu_ms = cpu_s(self.process.pid) * 1000
        self._path.unlink()
        self.port.acknowledge()
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()
        self.port.connection.close()


def _starts(
    path: Path, daemon: list[str], reference: list[str], count: int
) -> tuple[list[Guest], list[Guest]]:
    """Both, in turns. The first of each writes its bytecode, and is not counted."""
    guests: tuple[list[Guest], list[Guest]] = ([], [])
    for number in range(count + 1):
        for command, started in zip((daemon, reference), guests, strict=True):
            with Guest(path, command) as guest:
                if number:
                    started.append(guest)
    return guests


def _lives(
    path: Path, daemon: list[str], reference: list[str], seconds: float
) -> tuple[Life, Life]:
    """Both programs at both intervals, all in the same seconds."""
    with ExitStack() as stack:
        crowd = [
            [(stack.enter_context(Guest(path, command)), ms) for ms in INTERVALS_MS]
            for command in (daemon, reference)
        ]
        everyone = [(guest, ms) for guests in crowd for guest, ms in guests]
        before_s = {guest: cpu_s(guest.process.pid) for guest, _ms in everyone}
        challenge_all([(guest.port, ms) for guest, ms in everyone], seconds)
        ours, floor = (
            (
                rss_mib(guests[0][0].process.pid),
                pss_mib(guests[0][0].process.pid),
                {
                    ms: (cpu_s(guest.process.pid) - before_s[guest]) / seconds * 100
                    for guest, ms in guests
                },
            )
            for guests in crowd
        )
    return ours, floor


def _daemon(folder: Path, port: Path) -> list[str]:
    settings = folder / "guest.toml"
    quoted = json.dumps(f"unix://{port}")
    settings.write_text(
        f"[channel]\nport = {quoted}\n[heartbeat]\ninterval_ms = 1000\n"
        f"[applications]\nsocket = {json.dumps(str(folder / 'door.sock'))}\n"
    )
    return [*_python(DAEMON), "run", "--config", str(settings)]


def _python(program: str) -> list[str]:
    places = {
        str(Path(module.__file__).parent.parent)
        for module in (reachthru, msgspec, guest_vm)
        if module.__file__
    }
    return [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path += {sorted(places)}; {program}",
    ]
