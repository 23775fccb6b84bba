"""A controller as a process, and secrets: what the locks are tried with."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from servers.ports import free_port

DEADLINE_S = 40


def wait_until(condition, deadline_s=DEADLINE_S):
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)
    return found


@pytest.fixture(name="wait_until", scope="session")
def wait_until_fixture():
    return wait_until


class Controller:
    """`reachthru-controller`; `settings`: what follows `listen` in [api], and more sections."""

    def __init__(self, folder, settings, *, tls=None, listen="127.0.0.1", bus=None):
        self.folder = folder
        self.port = free_port()
        self.bus_url = bus or f"mqtt://embedded:{free_port()}"
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._tls = tls
        self.settings = folder / "controller.conf"
        self.settings.write_text(
            f"[bus]\nurl = {self.bus_url}\n"
            f"[database]\nconnection = sqlite:///{folder}/controller.sqlite\n"
            f"[api]\nlisten = {listen}:{self.port}\n{settings}\n"
        )
        self.settings.chmod(0o640)
        self.process = None

    def start(self, path="/readyz"):
        """Returns when `path` is answered."""
        self.spawn()
        wait_until(lambda: self._answers(path))
        return self

    def spawn(self):
        with (self.folder / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "reachthru.controller_server.cli",
                    *["--config-file", self.settings],
                ],
                stderr=stderr,
            )
        return self

    def _answers(self, path):
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(httpx.HTTPError):
            return self.get(path).status_code == 200

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(DEADLINE_S) == 0, self.log()

    def get(self, path, token=None, **headers):
        if token is not None:
            headers["X-Auth-Token"] = token
        return httpx.get(
            f"{self.url}{path}", headers=headers, verify=self._tls or False, timeout=20
        )

    def log(self):
        return (self.folder / "stderr").read_text()


@pytest.fixture(scope="module")
def start_controller(tmp_path_factory):
    """start_controller(settings, path, tls=..., listen=..., bus=...) -> Controller, which runs."""
    with contextlib.ExitStack() as stack:

        def start(settings, path="/readyz", **more):
            controller = Controller(tmp_path_factory.mktemp("controller"), settings, **more)
            stack.callback(controller.stop)
            return controller.start(path)

        yield start


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory):
    """secret_file(name, text, mode=0o600) -> Path, in a folder of its own."""

    def make(name, text, mode=0o600):
        path = tmp_path_factory.mktemp("secret") / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return make


@pytest.fixture
def reachthru(tmp_path):
    """reachthru(*words, **environment) -> (exit code, stdout, stderr) of the operator's command."""

    def run(*words, **environment):
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OS_", "REACHTHRU_"))
        }
        done = subprocess.run(
            [sys.executable, "-m", "reachthru.cli", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**clean, **{name: str(value) for name, value in environment.items()}},
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run
