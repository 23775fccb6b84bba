"""systemd's notification protocol (sd_notify(3)): readiness, watchdog, status. Standard library.

Every function does nothing where systemd is not listening, and never raises: a daemon must not
die of its supervisor's socket.
"""

import os
import socket


def notify(state: str) -> None:
    """Sends e.g. `READY=1`, `WATCHDOG=1`, `STATUS=...` to the service manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as door:
            door.sendto(state.encode(), address)
    except OSError:
        return


def watchdog_interval_s() -> float | None:
    """How often to send `WATCHDOG=1`: half of what the unit's WatchdogSec allows."""
    limit_us = os.environ.get("WATCHDOG_USEC", "")
    watched_pid = os.environ.get("WATCHDOG_PID", "")
    if not limit_us.isdigit() or (watched_pid and watched_pid != str(os.getpid())):
        return None
    return int(limit_us) / 2_000_000
