"""Health checks, run beside the heartbeat: an answer to a challenge never waits for one.

A check that has no result yet counts as healthy: a slow start is no illness.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct

from reachthru.guest_daemon.command_run import CommandRun, Ending
from reachthru.guest_daemon.loop import earliest
from reachthru.guest_daemon.settings import HealthCheck
from reachthru.protocol.messages import LOG_MSG_LIMIT_BYTES, clip_text

SYSTEMCTL_PATHS = ("/usr/bin/systemctl", "/bin/systemctl")


class Result(Struct, frozen=True):
    healthy: bool
    log_msg: str


class Check(ABC):
    """One `[[health_check]]`. `runs` counts its results."""

    def __init__(self, settings: HealthCheck) -> None:
        self.name = settings.name
        self.result: Result | None = None
        self.runs = 0
        self._interval_s = settings.interval_s
        self._due_at = 0.0  # at once

    @property
    def problem(self) -> str | None:
        """What a challenge's answer says of it; None while it is well."""
        if self.result is None or self.result.healthy:
            return None
        return f"check {self.name}: {self.result.log_msg}"

    @abstractmethod
    def step(self, now: float) -> None:
        """Starts it when it is due, and takes its result when that is there."""

    def run_now(self) -> None:
        """Makes it due, unless it is running."""
        self._due_at = 0.0

    def interest(self) -> Mapping[int, int]:
        return {}

    def deadline(self) -> float | None:
        return self._due_at

    def stop(self) -> None:  # noqa: B027 - most have nothing to stop
        """The daemon ends."""

    def _finish(self, healthy: bool, log_msg: str) -> None:
        self.result = Result(healthy, log_msg)
        self.runs += 1


class FileCheck(Check):
    """A file whose presence means unhealthy; its first line says why.

    It is looked at in the loop: it belongs on a file system of this machine, such as /run.
    """

    def __init__(self, settings: HealthCheck, path: str) -> None:
        super().__init__(settings)
        self._path = path

    def step(self, now: float) -> None:
        if now < self._due_at:
            return
        self._due_at = now + self._interval_s
        try:
            line = self._first_line()
        except FileNotFoundError:
            self._finish(True, "")
        except OSError as error:
            self._finish(False, f"{self._path}: {error.strerror}")
        else:
            self._finish(False, line or f"{self._path} is there")

    def _first_line(self) -> str:
        fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            head = os.read(fd, 2 * LOG_MSG_LIMIT_BYTES)
        except IsADirectoryError:
            head = b""
        finally:
            os.close(fd)
        line = head.strip().partition(b"\n")[0]
        return clip_text(line.decode("utf-8", "replace"), LOG_MSG_LIMIT_BYTES)


class CommandCheck(Check):
    """A command: exit status 0 is healthy. Its runs never overlap.

    `prefix` comes before the first line of output, where that line alone says too little.
    """

    def __init__(self, settings: HealthCheck, command: tuple[str, ...], prefix: str = "") -> None:
        super().__init__(settings)
        self._command = command
        self._timeout_s = settings.timeout_s
        self._prefix = prefix
        self._run: CommandRun | None = None

    def interest(self) -> Mapping[int, int]:
        return self._run.interest() if self._run else {}

    def deadline(self) -> float | None:
        return self._run.deadline() if self._run else self._due_at

    def step(self, now: float) -> None:
        if self._run is not None:
            ending = self._run.step(now)
            if ending is not None:
                self._take(ending)
            if self._run.gone:
                self._run = None
        if self._run is None and now >= self._due_at:
            self._start(now)

    def run_now(self) -> None:
        if self._run is None:
            super().run_now()
        elif self._run.out_of_time:  # it hangs in the kernel; what was said of it stands
            self.runs += 1

    def stop(self) -> None:
        if self._run is not None:
            self._run.kill()

    def _start(self, now: float) -> None:
        self._due_at = now + self._interval_s
        try:
            self._run = CommandRun(self._command, now, self._timeout_s)
        except OSError as error:
            self._finish(False, f"can't run {self._command[0]}: {error.strerror}")

    def _take(self, ending: Ending) -> None:
        line = self._prefix + ending.line if ending.line else ending.fault
        self._finish(ending.healthy, clip_text(line, LOG_MSG_LIMIT_BYTES))


class Health:
    """All checks. `on_change` is called when a result has arrived."""

    def __init__(self, checks: Sequence[Check], on_change: Callable[[], None]) -> None:
        self.checks = checks
        self._on_change = on_change

    def problems(self) -> list[str]:
        """What is wrong, in the order of the settings."""
        return [problem for check in self.checks if (problem := check.problem) is not None]

    def run_now(self) -> dict[str, int]:
        """Starts every check that is not running. Gives each one's `runs` before that."""
        before = {check.name: check.runs for check in self.checks}
        for check in self.checks:
            check.run_now()
        return before

    def all_ran_since(self, before: Mapping[str, int]) -> bool:
        return all(check.runs > before[check.name] for check in self.checks)

    def stop(self) -> None:
        for check in self.checks:
            check.stop()

    def interest(self) -> Mapping[int, int]:
        return {fd: events for check in self.checks for fd, events in check.interest().items()}

    def deadline(self) -> float | None:
        return earliest(check.deadline() for check in self.checks)

    def step(self, now: float, _ready: Collection[int] = ()) -> None:
        before = sum(check.runs for check in self.checks)
        for check in self.checks:
            check.step(now)
        if sum(check.runs for check in self.checks) != before:
            self._on_change()


def make_check(settings: HealthCheck) -> Check:
    """The kind of check that the settings ask for."""
    if settings.unhealthy_file is not None:
        return FileCheck(settings, settings.unhealthy_file)
    if settings.command is not None:
        return CommandCheck(settings, settings.command)
    assert settings.systemd_unit is not None
    systemctl = next((path for path in SYSTEMCTL_PATHS if os.path.exists(path)), SYSTEMCTL_PATHS[0])
    unit = settings.systemd_unit
    return CommandCheck(settings, (systemctl, "is-active", "--", unit), prefix=f"{unit} is ")
