"""Masakari's and Tacker's own code, over HTTP."""

import contextlib
import json
import subprocess
import urllib.request
import uuid
from pathlib import Path

import pytest

from reachthru.controller_server.model import Fault
from reachthru.controller_server.settings import load as settings_of

PYTHON = Path(__file__).parents[3] / ".venv-masakari-tacker/bin/python"


class Server:
    """A script beside this file, in that venv; prints {"url": ...} when it is up."""

    def __init__(self, script, folder, *arguments):
        assert PYTHON.exists(), "run tools/setup-services nova masakari-tacker"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [PYTHON, Path(__file__).with_name(script), folder, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        line = self._process.stdout.readline()
        assert line, (folder / "log").read_text()
        self.url = json.loads(line)["url"]

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._log.close()

    def put(self, thing):
        line = json.dumps(thing)
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == line

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="package")
def masakari(tmp_path_factory):
    """With the hosts compute-0 and compute-1."""
    folder = tmp_path_factory.mktemp("masakari")
    with contextlib.closing(
        Server("masakari_server.py", folder, "compute-0", "compute-1")
    ) as server:
        yield server


@pytest.fixture(scope="package")
def tacker(tmp_path_factory):
    with contextlib.closing(
        Server("tacker_server.py", tmp_path_factory.mktemp("tacker"))
    ) as server:
        yield server


@pytest.fixture
def make_sink(tmp_path):
    """make_sink(name, settings of its section): the sink that a controller would have."""

    def make(name, **settings):
        path = tmp_path / "controller.conf"
        lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
        path.write_text(f"[sinks]\nenabled = {name}\n[sink_{name}]\n{lines}")
        return settings_of(path).sinks[0]

    return make


@pytest.fixture
def make_fault():
    def make(kind="heartbeat_lost", status="raised", **more):
        of_host = kind == "host_lost"
        fault = Fault(
            id=str(uuid.uuid4()),
            kind=kind,
            severity="critical",
            status=status,
            instance_uuid="" if of_host else str(uuid.uuid4()),
            instance_name="" if of_host else "instance-00000001",
            host="compute-0",
            raised_at="2026-01-01T12:00:00.250000+00:00",
            cleared_at="2026-01-01T12:00:05.500000+00:00" if status == "cleared" else None,
            detail="no answer to challenge 17 within 400 ms",
            corrective_action="" if of_host else "log",
            stages_ms={},
            deliveries=[],
        )
        for key, value in more.items():
            setattr(fault, key, value)
        return fault

    return make
