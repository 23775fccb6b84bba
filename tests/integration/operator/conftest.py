"""The operator's command line on real terminals and in real shells, beside a real controller."""

import asyncio
import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from lab.controllers import Controller, Webhook
from servers.mosquitto import MosquittoServer

DEADLINE_S = 60
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# Whoever started the tests may have made its children deaf to Ctrl-C.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from reachthru.cli import main
sys.exit(main())
"""


class Terminal:
    """A program in a terminal of so many columns and lines. Use as `with terminal:`."""

    def __init__(self, *words, columns=120, lines=30, **environment):
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (lines, columns))
        os.set_blocking(ours, False)
        self._fd = ours
        self.raw = ""
        # What this process was told of its own terminal, or has none, is nothing to the program.
        ours_alone = {"NO_COLOR", "COLUMNS", "LINES"}
        settings = {name: value for name, value in os.environ.items() if name not in ours_alone}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-c", PROGRAM, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=settings | {"TERM": "xterm-256color"} | environment,
        )
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        os.close(self._fd)

    def read(self):
        with contextlib.suppress(OSError):  # nothing now, or nobody any more
            while data := os.read(self._fd, 65_536):
                self.raw += data.decode(errors="replace")

    async def shows(self, *texts):
        """Waits until what is new on it since the last time has all of them; returns that."""
        before = len(self.raw)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            self.read()
            new = _CONTROL.sub("", self.raw[before:])
            if all(text in new for text in texts):
                return new
            assert time.monotonic() < deadline, (texts, new[-3000:])
            await asyncio.sleep(0.05)

    def press_ctrl_c(self):
        os.write(self._fd, b"\x03")

    async def ended(self):
        """Its exit status."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read()
            await asyncio.sleep(0.05)
        self.read()
        return self.process.returncode

    @property
    def text(self):
        return _CONTROL.sub("", self.raw)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with MosquittoServer(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
async def webhook():
    async with Webhook() as running:
        yield running


@pytest.fixture
async def controllers(broker, webhook, tmp_path):
    """controllers(database URL, ...) -> that many, which run and tell the webhook."""
    running = []

    async def start(*urls):
        for url in urls:
            settings = (
                f"[bus]\nurl = {broker.url}\n[database]\nconnection = {url}\n"
                f"[sinks]\nenabled = webhook\n[sink_webhook]\nurl = {webhook.url}\n"
            )
            running.append(Controller(tmp_path / f"c{len(running)}", settings))
        await asyncio.gather(*(one.start() for one in running))
        return running

    yield start
    await asyncio.gather(*(one.kill() for one in running if one.process.returncode is None))


@pytest.fixture
def reachthru():
    """await reachthru(controller, *words) -> what it says in a pipe; it must not fail."""

    async def run(controller, *words):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "reachthru.cli", *words],
            env=os.environ | {"REACHTHRU_URL": f"http://127.0.0.1:{controller.api_port}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    return run


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/controller.sqlite"


SCRIPTS = Path(sys.executable).parent
