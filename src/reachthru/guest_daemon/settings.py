"""The guest's settings: TOML, read strictly. Every section and key has a default.

A wrong setting raises `SettingsError`, one line that names file, section, key, value and what is
allowed.
"""

import os
import tomllib
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from reachthru.guest_daemon.errors import SettingsError
from reachthru.guest_daemon.port_address import PortAddress, read_port_address
from reachthru.guest_daemon.strict import read_section, refuse_unknown, show
from reachthru.protocol.codec import Dialect
from reachthru.protocol.heartbeat.guest import GuestPolicy
from reachthru.protocol.messages import NAME_LIMIT_CHARS, CorrectiveAction

DEFAULT_PATH = "/etc/reachthru/guest.toml"

# Two intervals and 50 ms find a silent guest, and the consumer is told a moment later: within
# 1 s, 5 s and 10 s (wire contract, section 8).
SERVICE_LEVELS_MS = {"SAL1": 400, "SAL2": 2000, "SAL3": 4000}

Name = Annotated[str, Meta(min_length=1, max_length=NAME_LIMIT_CHARS)]
AbsolutePath = Annotated[str, Meta(pattern="^/[^\\x00]*$")]
_NAME = f"a text of 1 to {NAME_LIMIT_CHARS} characters"
SOCKET_PATH_LIMIT_BYTES = 107  # unix(7)


class Channel(Struct, frozen=True):
    ALLOWED: ClassVar[dict[str, str]] = {
        "port": "virtio:///dev/..., serial:///dev/...?baudrate=N or unix:///path",
        "dialect": '"mux" or "bare"',
    }

    port: str = "virtio:///dev/virtio-ports/cgcs.messaging"
    dialect: Dialect = Dialect.MUX

    def __post_init__(self) -> None:
        read_port_address(self.port)


class Heartbeat(Struct, frozen=True):
    ALLOWED: ClassVar[dict[str, str]] = {
        "service_level": '"SAL1", "SAL2" or "SAL3"',
        "interval_ms": "a whole number from 10 to 3600000",
        "corrective_action": '"none", "log", "reboot" or "stop"',
        "name": _NAME,
    }

    service_level: Literal["SAL1", "SAL2", "SAL3"] | None = None
    interval_ms: Annotated[int, Meta(ge=10, le=3_600_000)] | None = None
    corrective_action: Literal["none", "log", "reboot", "stop"] = "log"
    name: Name | None = None


class HealthCheck(Struct, frozen=True):
    """Exactly one of `command`, `systemd_unit` and `unhealthy_file`."""

    ALLOWED: ClassVar[dict[str, str]] = {
        "name": _NAME,
        "command": 'a list of texts whose first is an absolute path: ["/path/to/check", "arg"]',
        "systemd_unit": 'the name of a unit: "nginx.service"',
        "unhealthy_file": "an absolute path",
        "interval_s": "a number from 0.1 to 86400",
        "timeout_s": "a number from 0.1 to 86400",
    }

    name: Name = ""  # it must be given: `_checks`
    command: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    systemd_unit: Annotated[str, Meta(pattern=r"^[^-/\s\x00][^/\s\x00]*$")] | None = None
    unhealthy_file: AbsolutePath | None = None
    interval_s: Annotated[float, Meta(ge=0.1, le=86400)] = 5.0
    timeout_s: Annotated[float, Meta(ge=0.1, le=86400)] = 2.0

    def __post_init__(self) -> None:
        if self.command is not None and not self.command[0].startswith("/"):
            raise ValueError("a daemon has no PATH to trust")


class Applications(Struct, frozen=True):
    ALLOWED: ClassVar[dict[str, str]] = {"socket": "an absolute path of at most 107 bytes"}

    socket: AbsolutePath = "/run/reachthru/guest.sock"

    def __post_init__(self) -> None:
        if len(os.fsencode(self.socket)) > SOCKET_PATH_LIMIT_BYTES:
            raise ValueError("unix(7) has no room for it")


class Settings(Struct, frozen=True):
    path: str | None  # where they were read; None for the defaults alone
    port: PortAddress
    dialect: Dialect
    policy: GuestPolicy
    checks: tuple[HealthCheck, ...]
    applications_socket: str


def load(path: str | None = None) -> Settings:
    """The settings in `path`, or in the default file if there is one. Raises `SettingsError`."""
    named = path or DEFAULT_PATH
    try:
        with open(named, "rb") as file:
            return _read(named, tomllib.load(file))
    except FileNotFoundError as error:
        if path is None:
            return _read(None, {})
        raise SettingsError(f"{named}: can't read the settings: {error.strerror}") from error
    except OSError as error:
        raise SettingsError(f"{named}: can't read the settings: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{named}: not TOML: {error}") from error


def _read(path: str | None, found: dict[str, object]) -> Settings:
    where = path or "defaults"
    refuse_unknown(where, found, ("channel", "heartbeat", "health_check", "applications"))
    channel = read_section(f"{where}: [channel]", found.get("channel", {}), Channel)
    heartbeat = read_section(f"{where}: [heartbeat]", found.get("heartbeat", {}), Heartbeat)
    applications = read_section(
        f"{where}: [applications]", found.get("applications", {}), Applications
    )
    return Settings(
        path=path,
        port=read_port_address(channel.port),
        dialect=channel.dialect,
        policy=GuestPolicy(
            name=heartbeat.name or os.uname().nodename,
            interval_ms=_interval_ms(where, heartbeat),
            corrective_action=CorrectiveAction(heartbeat.corrective_action),
        ),
        checks=_checks(where, found.get("health_check", [])),
        applications_socket=applications.socket,
    )


def _interval_ms(where: str, heartbeat: Heartbeat) -> int:
    if heartbeat.interval_ms is None:
        return SERVICE_LEVELS_MS[heartbeat.service_level or "SAL1"]
    if heartbeat.service_level is not None:
        raise SettingsError(
            f"{where}: [heartbeat] interval_ms = {heartbeat.interval_ms}: "
            "allowed without service_level only; give one of the two"
        )
    return heartbeat.interval_ms


def _checks(where: str, tables: object) -> tuple[HealthCheck, ...]:
    if not isinstance(tables, list):
        raise SettingsError(
            f"{where}: health_check = {show(tables)}: allowed: sections, each [[health_check]]"
        )
    checks: dict[str, HealthCheck] = {}
    for number, table in enumerate(tables, 1):
        check = read_section(f"{where}: [[health_check]] {number}", table, HealthCheck)
        if not check.name:
            raise SettingsError(f"{where}: [[health_check]] {number}: name is missing")
        kinds = (check.command, check.systemd_unit, check.unhealthy_file)
        if sum(kind is not None for kind in kinds) != 1:
            raise SettingsError(
                f"{where}: [[health_check]] {number} name = {show(check.name)}: "
                "exactly one of command, systemd_unit and unhealthy_file"
            )
        if check.name in checks:
            raise SettingsError(
                f"{where}: [[health_check]] {number} name = {show(check.name)}: "
                "another check has this name; each needs its own"
            )
        checks[check.name] = check
    return tuple(checks.values())
