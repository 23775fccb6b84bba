"""`reachthru-guest doctor`: what keeps this VM from being heartbeated, and how to mend it.

What is looked at is gathered first; the checks are functions of that.
"""

import grp
import os
import pwd
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reachthru import __version__
from reachthru.findings import Finding, ok, running, warning, wrong
from reachthru.guest_daemon.client import Client
from reachthru.guest_daemon.errors import DoorError, SettingsError
from reachthru.guest_daemon.settings import DEFAULT_PATH, Settings, load

SERVICE = "reachthru-guest"
STATUS_TIMEOUT_S = 5.0
# So many intervals without a challenge: the host has stopped asking.
SILENT_INTERVALS = 5
PORT_NAMES = Path("/sys/class/virtio-ports")
_REMEDY_NO_PORT = (
    "give the VM the port (Nova: the flavor's extra spec hw:guest_heartbeat, and a boot after that;"
    " libvirt: a <channel>), or name the right one in [channel] port"
)


class User(NamedTuple):
    """Whom the daemon runs as."""

    uid: int
    groups: frozenset[int]

    @property
    def name(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


class PortFile(NamedTuple):
    """`mode` is None where there is nothing at the port's path; `others` are this VM's ports."""

    mode: int | None
    uid: int = -1
    gid: int = -1
    others: tuple[str, ...] = ()


def examine(config: str | None) -> list[Finding]:
    """Everything, of the daemon whose settings are in `config`, else in the default file."""
    try:
        settings = load(config)
    except SettingsError as error:
        text = f"can't be used: {error}"
        return [wrong("settings", text, "put that line right; the daemon does not start with it")]
    findings = [ok("settings", settings.path or f"the defaults; there is no {DEFAULT_PATH}")]
    uid, status = _ask_daemon(settings.applications_socket)
    user = _user(uid)
    findings += check_port(settings.port.scheme, settings.port.path, _look(settings), user)
    if isinstance(status, str):
        remedy = f"systemctl enable --now {SERVICE}; journalctl -u {SERVICE} says why it ended"
        return [*findings, wrong("daemon", status, remedy)]
    return [*findings, *check_daemon(status, settings.policy.interval_ms)]


def check_port(scheme: str, path: str, found: PortFile, user: User) -> Iterator[Finding]:
    """Is there a port of that name, of the right kind, that `user` may open?"""
    if found.mode is None:
        there = f"this VM has {', '.join(found.others)}" if found.others else "this VM has none"
        text = f"{path} does not exist" + (f"; {there}" if scheme == "virtio" else "")
        yield wrong("port", text, _REMEDY_NO_PORT)
        return
    is_right = stat.S_ISSOCK if scheme == "unix" else stat.S_ISCHR
    if not is_right(found.mode):
        kind = "a socket" if scheme == "unix" else "a character device"
        yield wrong("port", f"{path} is not {kind}", "name the right one in [channel] port")
    elif not may_use(found, user):
        text = f"{path} may not be read and written by the daemon's user, {user.name}"
        remedy = (
            f"install our udev rule, or chgrp {_group(user)} {path} && chmod 660 {path}"
            if scheme != "unix"
            else f"chown {user.name} {path}"
        )
        yield wrong("port", text, remedy)
    else:
        yield ok("port", f"{path}, open to {user.name}")


def may_use(found: PortFile, user: User) -> bool:
    """Both to read and to write, as the kernel decides for somebody without capabilities."""
    if user.uid == 0:
        return True
    bits = found.mode or 0
    if found.uid == user.uid:
        bits >>= 6
    elif found.gid in user.groups:
        bits >>= 3
    return bits & 0o6 == 0o6


def check_daemon(status: dict[str, Any], interval_ms: int) -> Iterator[Finding]:
    """By what the daemon says of itself (`reachthru-guest status --json`)."""
    yield running("daemon", "runs", str(status["version"]), __version__, SERVICE)
    state = str(status["port_state"])
    if state.startswith("not open"):
        remedy = "see the port above; one process at a time can have it"
        yield wrong("attachment", f"the daemon can't open its port: {state}", remedy)
        return
    if state != "host connected":
        remedy = "see `reachthru doctor` on the compute node: is the host agent there?"
        yield wrong("attachment", "the port is open, and no host is connected to it", remedy)
        return
    yield ok("attachment", "the host is connected")
    yield from _check_host(status, interval_ms)
    if not status["healthy"]:
        remedy = "reachthru-guest check runs every health check now"
        yield warning("health", f"unhealthy: {status['log_msg']}", remedy)
    if status["peer_errors"]:
        counts = ", ".join(f"{count} {why}" for why, count in status["peer_errors"].items())
        remedy = "are the host agent and this daemon of one version?"
        yield warning("messages", f"not understood from the host: {counts}", remedy)


def _check_host(status: dict[str, Any], interval_ms: int) -> Iterator[Finding]:
    remedy = "see `reachthru doctor` on the compute node"
    asked_s = status["last_challenge_s"]
    if not status["registered"] or asked_s is None:
        yield wrong("host", "it does not answer: this VM is not registered", remedy)
    elif asked_s * 1000 > SILENT_INTERVALS * interval_ms:
        text = f"its last challenge was {asked_s:.1f} s ago, at an interval of {interval_ms} ms"
        yield wrong("host", text, remedy)
    else:
        yield ok("host", f"challenges each {interval_ms} ms; answered {status['answered']}")


# --- what is there -----------------------------------------------------------------------------


def _look(settings: Settings) -> PortFile:
    try:
        found = os.stat(settings.port.path)
    except OSError:
        names = (file.read_text().strip() for file in PORT_NAMES.glob("*/name"))
        return PortFile(None, others=tuple(sorted(name for name in names if name)))
    return PortFile(found.st_mode, found.st_uid, found.st_gid)


def _ask_daemon(path: str) -> tuple[int | None, dict[str, Any] | str]:
    """The daemon's uid, and what it says of itself; where it says nothing, why."""
    uid = None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(STATUS_TIMEOUT_S)
            peer.connect(path)
            found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            uid = struct.unpack("3i", found)[1]
        with Client(path, STATUS_TIMEOUT_S) as client:
            return uid, client.status()
    except (OSError, DoorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return uid, f"no guest daemon answers at {path}: {reason}"


def _user(uid: int | None) -> User:
    """Of the daemon that runs; else of its unit; else whoever asks."""
    if uid is None:
        uid = _unit_uid()
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return User(uid, frozenset())
    return User(uid, frozenset(os.getgrouplist(account.pw_name, account.pw_gid)))


def _unit_uid() -> int:
    try:
        done = subprocess.run(
            ["systemctl", "show", "-p", "User", "--value", SERVICE],
            capture_output=True,
            text=True,
            timeout=STATUS_TIMEOUT_S,
            check=False,
        )
        return pwd.getpwnam(done.stdout.strip()).pw_uid
    except (OSError, subprocess.TimeoutExpired, KeyError):
        return os.getuid()


def _group(user: User) -> str:
    try:
        return grp.getgrgid(pwd.getpwuid(user.uid).pw_gid).gr_name
    except KeyError:
        return str(user.uid)
