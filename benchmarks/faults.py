"""A burst of 10,000 faults from 100 agents: durable at both ends, and told to three sinks, one of
which fails half of the time.

The agents' outboxes, the broker, the controller and its database are the real ones. The reference
is the broker's library alone, carrying as many messages of the same size over the same broker.
"""

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.process import cpu_s, rss_mib
from benchmarks.results import Result
from servers.mosquitto import MosquittoServer
from servers.ports import free_port
from servers.postgresql import PostgresqlServer
from servers.rabbitmq import RabbitMqServer

AGENTS = 100
FAULTS_EACH = 100
FAULTS = AGENTS * FAULTS_EACH
MESSAGE_BYTES = 430  # of a fault change on the bus
BUSY_SHARE = 0.5  # of the webhook's answers
SEED = 20
LIMIT_S = 300.0


def run() -> list[Result]:
    results = []
    with tempfile.TemporaryDirectory() as folder, _mosquitto(Path(folder)) as broker:
        url = broker.url
        raw_s = _raw("mqtt", url)
        with PostgresqlServer() as server:
            results += _burst("mqtt", url, server.make_database(), raw_s)
        results += _burst("mqtt.sqlite", url, None, raw_s)
    with RabbitMqServer() as rabbit, PostgresqlServer() as server:
        raw_s = _raw("rabbit", rabbit.url)
        url = f"rabbit://127.0.0.1:{rabbit.port}/"
        results += _burst("rabbit", url, server.make_database(), raw_s, "guest")
    return results


def _mosquitto(folder: Path) -> MosquittoServer:
    """By default it keeps 1,000 messages for a client and drops the rest."""
    return MosquittoServer(folder, more="max_queued_messages 0\nmax_inflight_messages 200")


def _raw(carrier: str, url: str) -> float:
    command = (carrier, url, str(FAULTS), str(MESSAGE_BYTES))
    print(f"faults: {FAULTS} messages through {carrier} alone ...", flush=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.raw_carriage", *command],
        stdout=subprocess.PIPE,
        check=True,
    )
    took_s: float = json.loads(done.stdout)["took_s"]
    return took_s


def _burst(
    name: str, url: str, database: str | None, raw_s: float, user: str | None = None
) -> list[Result]:
    print(f"faults: {FAULTS} at once from {AGENTS} agents, {name} ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="reachthru-") as name_of_folder, ExitStack() as stack:
        folder = Path(name_of_folder)
        secret = []
        if user is not None:
            (folder / "password").write_text(user)
            (folder / "password").chmod(0o600)
            secret = [user, str(folder / "password")]
        told, webhook_url = stack.enter_context(_webhook())
        consumers = stack.enter_context(_mosquitto(folder))
        lock = f"username = {secret[0]}\npassword_file = {secret[1]}\n" if secret else ""
        text = (
            f"[bus]\nurl = {url}\n{lock}"
            f"[database]\nconnection = {database or f'sqlite:///{folder}/controller.sqlite'}\n"
            f"[sinks]\nenabled = log, webhook, mqtt\n[sink_webhook]\nurl = {webhook_url}\n"
            f"[sink_mqtt]\nurl = {consumers.url}\n"
        )
        controller, api = stack.enter_context(
            _controller(folder, text, upgrade=database is not None)
        )
        agents = stack.enter_context(_agents(folder, url, secret))
        cpu_before_s = cpu_s(controller.pid)
        began = time.monotonic()
        _go(agents)
        took_s = json.loads(_line(agents))["took_s"]
        while len(told) < FAULTS or _backlog(api):
            if time.monotonic() > began + LIMIT_S:
                raise RuntimeError(f"{len(told)} of {FAULTS} were told: {_log(folder)}")
            time.sleep(0.05)
        delivered_s = time.monotonic() - began
        cpu_us = (cpu_s(controller.pid) - cpu_before_s) / FAULTS * 1e6
        detail = (
            f"stored and acknowledged; at every sink after {delivered_s:.1f} s;"
            f" controller {cpu_us:.0f} us of CPU a fault, {rss_mib(controller.pid):.0f} MiB"
        )
    return [Result(f"fault_burst.{name}", took_s, "s", raw_s, detail)]


@contextmanager
def _controller(
    folder: Path, text: str, *, upgrade: bool
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`text` is what its settings say besides where it listens."""
    port = free_port()
    settings = folder / "controller.conf"
    settings.write_text(f"{text}[api]\nlisten = 127.0.0.1:{port}\n")
    api = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "reachthru.controller_server.cli")
    if upgrade:
        subprocess.run([*command, "db", "upgrade", "--config-file", str(settings)], check=True)
    with (folder / "controller.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config-file", str(settings)], stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 30
        while not _is_ready(api):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(_log(folder))
            time.sleep(0.05)
        yield process, api
    finally:
        process.kill()
        process.wait()


@contextmanager
def _agents(folder: Path, url: str, secret: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-m", "benchmarks.fault_agents"),
            *(str(folder), url, str(AGENTS), str(FAULTS_EACH), *secret),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if _line(process).strip() != "connected":
            raise RuntimeError("the agents ended before they were connected")
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _webhook() -> Iterator[tuple[set[str], str]]:
    """What it was told of, by id and status; every second time it is busy.

    Its cost is not the controller's.
    """
    told: set[str] = set()
    dice = random.Random(SEED)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            fault: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            busy = dice.random() < BUSY_SHARE
            if not busy:
                told.add(f"{fault['id']} {fault['status']}")
            self.send_response(503 if busy else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the terminal is for the figures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield told, f"http://127.0.0.1:{server.server_port}/fault"
    finally:
        server.shutdown()


def _is_ready(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/readyz", timeout=2):
            return True
    except OSError:
        return False


def _backlog(api: str) -> float:
    with urllib.request.urlopen(f"{api}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("reachthru_delivery_backlog_changes{")
    )


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _log(folder: Path) -> str:
    return (folder / "controller.log").read_text()[-3000:]
