"""`reachthru doctor`, as an operator runs it, and what it looks at: real servers and daemons."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from reachthru import cli
from servers.mosquitto import MosquittoServer


class Found(list):
    """Findings: dicts of mark, check, text and remedy."""

    def wrong(self):
        return [f"{one['check']}: {one['text']}" for one in self if one["mark"] == "wrong"]

    def the_wrong(self, check):
        """The only wrong one of that check."""
        (one,) = [one for one in self if one["mark"] == "wrong" and one["check"] == check]
        assert one["remedy"], one
        return one["text"]


def examine(role, settings, *words):
    """Its findings; its exit status says whether one is wrong."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = cli.main(
            ["doctor", "--role", role, "--config-file", str(settings), "--json", *words]
        )
    found = Found(json.loads(out.getvalue())["findings"])
    assert status == (1 if found.wrong() else 0)
    return found


async def examine_beside(role, settings, *words):
    """While the test's own event loop goes on."""
    return await asyncio.to_thread(examine, role, settings, *words)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with MosquittoServer(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
def folder():
    """One that every user may look into, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="reachthru-doctor-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def spawn():
    """spawn(*words, log=path) -> a process that ends with the test."""
    running = []

    def start(*words, log, **how):
        with log.open("ab") as file:
            process = subprocess.Popen(words, stdout=file, stderr=file, **how)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def until(condition, log, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.fixture
def host(broker, folder, spawn):
    """host(changed settings, run=True) -> the settings of a host agent, which runs."""

    def make(run=True, **changed):
        settings = {
            "discovery": "driver = directory",
            "directory": f"path = {folder}",
            "bus": f"url = {broker.url}",
            "outbox": f"path = {folder}/outbox.sqlite",
        } | changed
        path = folder / "host.conf"
        sections = (f"[{name}]\n{lines}\n" for name, lines in settings.items())
        path.write_text("[DEFAULT]\nhost = compute-0\n" + "".join(sections))
        if run:
            log = folder / "host.log"
            module = "reachthru.host_agent.cli"
            spawn(sys.executable, "-m", module, "--config-file", path, log=log, env=os.environ)
            until(lambda: "ready" in log.read_text(), log)
        return path

    return make
