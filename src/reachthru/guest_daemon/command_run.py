"""One run of a check's command: a process group of its own, its output, its end.

Not `subprocess`: that waits until the command's file is loaded, and a disk that hangs would stop
the heartbeat for as long. Here nothing waits: the child itself says why it can't run the command.
"""

import contextlib
import os
import select
import signal

from msgspec import Struct

from reachthru.guest_daemon.loop import earliest
from reachthru.protocol.messages import LOG_MSG_LIMIT_BYTES, clip_text

READ_LIMIT_BYTES = 64 * 1024  # what a pipe holds
FREE_OUTPUT_BYTES = 64 * 1024  # read as it comes; beyond that ...
PACE_S = 0.05  # ... once in this time, so that a flood costs next to nothing
CANT_RUN_STATUS = 127  # as in a shell


class Ending(Struct, frozen=True):
    """How a run ended, or that it was out of time. `line` is its output's first, clipped."""

    healthy: bool
    line: str
    fault: str  # what to say where there is no line; "" when healthy


class CommandRun:
    """Starts at once. Raises `OSError` where the machine has no process to give."""

    def __init__(self, command: tuple[str, ...], now: float, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._kill_at: float | None = now + timeout_s
        self._head = b""
        self._read_bytes = 0
        self._read_at: float | None = None  # paced: the next look at a flood of output
        self._fd: int | None
        self._fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.set_blocking(write_fd, True)
            self.pid = os.fork()
        except OSError:
            os.close(self._fd)
            os.close(write_fd)
            raise
        if self.pid == 0:
            _become(command, write_fd)
        os.close(write_fd)

    def interest(self) -> dict[int, int]:
        if self._fd is None or self._read_at is not None:
            return {}
        return {self._fd: select.POLLIN}

    def deadline(self) -> float | None:
        return earliest((self._kill_at, self._read_at))

    def step(self, now: float) -> Ending | None:
        """Reads, and finds out whether it is over. After `Ending`, see `gone`."""
        self._read(now)
        # First whether it has ended, then the time: a daemon that was stopped itself must not
        # blame a check that was ready long ago.
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            return self._end(status)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self.kill()
            return Ending(False, "", f"no result within {self._timeout_s:g} s")
        return None

    @property
    def gone(self) -> bool:
        """Whether the process is no more. One that hangs in the kernel outlives its kill."""
        return self.pid == 0

    @property
    def out_of_time(self) -> bool:
        return self._kill_at is None

    def kill(self) -> None:
        """Kills the whole group and reads no more."""
        self._close()
        if self.pid:
            for kill in (os.killpg, os.kill):  # the group may not exist yet
                with contextlib.suppress(ProcessLookupError):
                    kill(self.pid, signal.SIGKILL)

    def _end(self, status: int) -> Ending | None:
        self.pid = 0
        self._read_at = None
        self._read(0.0)
        self._close()
        if self._kill_at is None:  # it was out of time, which has been said
            return None
        self._kill_at = None
        line = self._first_line()
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return Ending(True, line, "")
        fault = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        return Ending(False, line if code > 0 else "", fault)

    def _read(self, now: float) -> None:
        if self._fd is None or (self._read_at is not None and now < self._read_at):
            return
        self._read_at = None
        try:
            data = os.read(self._fd, READ_LIMIT_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close()
            return
        if b"\n" not in self._head.lstrip():
            self._head = (self._head.lstrip() + data)[: 2 * LOG_MSG_LIMIT_BYTES]
        self._read_bytes += len(data)
        if self._read_bytes > FREE_OUTPUT_BYTES:
            self._read_at = now + PACE_S

    def _first_line(self) -> str:
        line = self._head.lstrip().partition(b"\n")[0]
        return clip_text(line.decode("utf-8", "replace"), LOG_MSG_LIMIT_BYTES)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = self._read_at = None


def _become(command: tuple[str, ...], output_fd: int) -> None:
    """In the child: runs the command, or says why not. Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        os.setpgid(0, 0)
        # Python ignores these two, and what is ignored stays so across exec.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        # The service manager's door is the daemon's own.
        names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        environment = {name: value for name, value in os.environ.items() if name not in names}
        os.execve(command[0], command, environment)
    except BaseException as error:  # whatever it is, two daemons must not go on
        reason = getattr(error, "strerror", None) or str(error)
        os.write(1, f"can't run {command[0]}: {reason}\n".encode())
    finally:
        os._exit(CANT_RUN_STATUS)
