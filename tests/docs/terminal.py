"""Terminals in which the tutorial's commands are typed: bash, or the console of a VM in it."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from pathlib import Path


class Terminal:
    """Gone after `with`, and every process that was started in it."""

    def __init__(self, folder, environment):
        self._master, slave = pty.openpty()
        modes = termios.tcgetattr(slave)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        self._shell = subprocess.Popen(
            ["setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"],
            cwd=folder,
            env={**environment, "PS1": "", "PS2": "", "TERM": "dumb"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._count = 0
        self.seen = ""  # all of it, for a report

    def type(self, lines):
        os.write(self._master, "".join(f"{line}\n" for line in lines).encode())

    def interrupt(self, timeout_s):
        """Ctrl-C, and returns when the shell is back. Raises `TimeoutError`.

        What is typed before the program has ended is its own: the shell is called again and again.
        """
        os.write(self._master, b"\x03")
        deadline = time.monotonic() + timeout_s
        while True:
            self.type(["echo shell''-is-back"])
            try:
                self.read_until("shell-is-back", 1)
                return
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    def run(self, lines, timeout_s):
        """Types a command. Returns what it printed, and its exit code."""
        self._count += 1
        self.type([*lines, f"echo end''-of-{self._count}: $?"])  # an echo of this has the quotes
        found = self.read_until(rf"end-of-{self._count}: (\d+)", timeout_s)
        return found.string[: found.start()], int(found[1])

    def read_until(self, pattern, timeout_s):
        """The match in what was printed from here on. Raises `TimeoutError`."""
        deadline = time.monotonic() + timeout_s
        text = ""
        while (found := re.search(pattern, text)) is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._master], [], [], left_s)[0]:
                raise TimeoutError(f"no {pattern!r} within {timeout_s} s after:\n{text}")
            chunk = os.read(self._master, 65536).decode(errors="replace").replace("\r", "")
            chunk = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1bc", "", chunk)
            text += chunk
            self.seen += chunk
        return found

    def close(self):
        """Ends the session: background processes and QEMU are in it."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(process.name)) == self._shell.pid:
                    os.kill(int(process.name), signal.SIGKILL)
        self._shell.wait()
        os.close(self._master)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()
