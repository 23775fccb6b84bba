"""A VM: the guest daemon's own doctor, which needs nothing but its package."""

from pathlib import Path

from reachthru.findings import Finding
from reachthru.guest_daemon.doctor import examine as examine_guest


def examine(config: Path | None) -> list[Finding]:
    return examine_guest(None if config is None else str(config))
