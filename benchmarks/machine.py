"""What the figures were measured on, and of which source."""

import os
import platform
import subprocess
from pathlib import Path

# Others' programs that take part, by the Debian package that brings them.
PARTS = {
    "qemu": "qemu-system-x86",
    "mosquitto": "mosquitto",
    "rabbitmq": "rabbitmq-server",
    "postgresql": "postgresql",
    "libvirt": "libvirt-daemon",
}


def machine() -> dict[str, str | int]:
    """A part that is not installed, or not from Debian, is not named."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **_parts(),
    }


def source() -> dict[str, str | bool]:
    """`commit`, and whether the tree was `dirty`: had more than the commit."""
    return {
        "commit": _output("git", "rev-parse", "HEAD"),
        "dirty": bool(_output("git", "status", "--porcelain")),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _parts() -> dict[str, str]:
    listing = _output("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PARTS.values())
    versions = dict(line.split(maxsplit=1) for line in listing.splitlines() if " " in line)
    return {name: versions[package] for name, package in PARTS.items() if package in versions}


def _output(*command: str) -> str:
    """Empty where there is no such program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
