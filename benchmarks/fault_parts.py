"""What a benchmark of faults runs: agents, a controller, and who is told."""

import json
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.process import cpu_s, rss_mib
from servers.mosquitto import MosquittoServer
from servers.ports import free_port

SINKS = ("log", "webhook", "mqtt")
SEED = 20
LIMIT_S = 200.0
LOOK_S = 0.5  # counting what waits costs the database something
PAGE = 10_000


class Webhook:
    """Counts what it was told of, by id and status; of its answers `busy_share` are a 503.

    Its cost is not the controller's.
    """

    def __init__(self) -> None:
        self.told: set[str] = set()
        self.busy_share = 0.0
        self._dice = random.Random(SEED)

    @contextmanager
    def listening(self) -> Iterator[str]:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.send_response(
                    webhook.take(self.rfile.read(int(self.headers["Content-Length"])))
                )
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the terminal is for the figures."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Nothing: a controller was killed."""

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/fault"
        finally:
            server.shutdown()

    def take(self, body: bytes) -> int:
        if self._dice.random() < self.busy_share:
            return 503
        fault: dict[str, Any] = json.loads(body)
        self.told.add(f"{fault['id']} {fault['status']}")
        return 200


class Controller:
    """A real one."""

    def __init__(self, process: subprocess.Popen[bytes], api: str, log: Path) -> None:
        self._process = process
        self._api = api
        self._log = log

    def cpu_s(self) -> float:
        return cpu_s(self._process.pid)

    def rss_mib(self) -> float:
        return rss_mib(self._process.pid)

    def wait_until_told(self, leave_webhook: int = 0) -> None:
        """Everybody everything; but for the last changes of a webhook that answers at random."""
        until = time.monotonic() + LIMIT_S
        limits = {"webhook": leave_webhook}
        while any(waiting > limits.get(sink, 0) for sink, waiting in self.backlog().items()):
            if time.monotonic() > until:
                raise RuntimeError(f"not told: {self.backlog()}: {self.last_words()}")
            time.sleep(LOOK_S)

    def backlog(self) -> dict[str, float]:
        """By sink: how many changes it still has to be told."""
        waiting = {}
        for line in self._get("/metrics").decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("reachthru_delivery_backlog_changes{"):
                waiting[name.partition('"')[2].rstrip('"}')] = float(value)
        return waiting

    def faults(self) -> Iterator[dict[str, Any]]:
        """The newest first."""
        marker = ""
        while True:
            page = json.loads(self._get(f"/v1/faults?limit={PAGE}{marker}"))["faults"]
            yield from page
            if len(page) < PAGE:
                return
            marker = f"&marker={page[-1]['id']}"

    def instances(self) -> int:
        return len(json.loads(self._get("/v1/instances"))["instances"])

    def is_ready(self) -> bool:
        try:
            self._get("/readyz")
        except OSError:
            return False
        return True

    def last_words(self) -> str:
        return self._log.read_text()[-3000:]

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self._api}{path}", timeout=60) as answer:
            found: bytes = answer.read()
            return found


class Agents:
    """The process of benchmarks/fault_agents.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, command: str) -> dict[str, float]:
        """Its figures, once everything is acknowledged."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        figures: dict[str, float] = json.loads(self.line())
        return figures

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class Scene:
    """Agents, a controller, a webhook, and a broker for consumers; use `playing`."""

    def __init__(self, folder: Path, url: str, database: str | None, user: str | None) -> None:
        self.webhook = Webhook()
        self.controller: Controller
        self.agents: Agents
        self._folder = folder
        self._url = url
        self._database = database or f"sqlite:///{folder}/controller.sqlite"
        self._user = user

    @contextmanager
    def playing(self, agents: int, guests: int, more: str = "") -> Iterator["Scene"]:
        """`more` is of the controller's settings. Every guest is known when it begins."""
        with ExitStack() as stack:
            told_at = stack.enter_context(self.webhook.listening())
            consumers = stack.enter_context(roomy_mosquitto(self._folder))
            secret = self._secret()
            lock = f"username = {secret[0]}\npassword_file = {secret[1]}\n" if secret else ""
            text = (
                f"[bus]\nurl = {self._url}\n{lock}[database]\nconnection = {self._database}\n"
                f"[sinks]\nenabled = {', '.join(SINKS)}\n[sink_webhook]\nurl = {told_at}\n"
                f"[sink_mqtt]\nurl = {consumers.url}\n{more}"
            )
            self.controller = stack.enter_context(self._run_controller(text))
            self.agents = stack.enter_context(self._run_agents(agents, guests, secret))
            until = time.monotonic() + LIMIT_S
            while self.controller.instances() < agents * guests:
                if time.monotonic() > until:
                    raise RuntimeError(self.controller.last_words())
                time.sleep(LOOK_S)
            yield self

    def _secret(self) -> list[str]:
        if self._user is None:
            return []
        file = self._folder / "password"
        file.write_text(self._user)
        file.chmod(0o600)
        return [self._user, str(file)]

    @contextmanager
    def _run_controller(self, text: str) -> Iterator[Controller]:
        port = free_port()
        settings = self._folder / "controller.conf"
        settings.write_text(f"{text}[api]\nlisten = 127.0.0.1:{port}\n")
        command = (sys.executable, "-m", "reachthru.controller_server.cli")
        if not self._database.startswith("sqlite"):
            upgrade = (*command, "db", "upgrade", "--config-file", str(settings))
            subprocess.run(upgrade, check=True, stdout=subprocess.DEVNULL)
        log = self._folder / "controller.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--config-file", str(settings)], stdout=output, stderr=output
            )
        try:
            controller = Controller(process, f"http://127.0.0.1:{port}", log)
            until = time.monotonic() + 30
            while not controller.is_ready():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(controller.last_words())
                time.sleep(0.05)
            yield controller
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def _run_agents(self, agents: int, guests: int, secret: list[str]) -> Iterator[Agents]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "benchmarks.fault_agents"),
                *(str(self._folder), self._url, str(agents), str(guests), *secret),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            crowd = Agents(process)
            if crowd.line().strip() != "connected":
                raise RuntimeError("the agents ended before they were connected")
            yield crowd
        finally:
            process.kill()
            process.communicate()


def roomy_mosquitto(folder: Path) -> MosquittoServer:
    """By default it keeps 1,000 messages for a client and drops the rest."""
    return MosquittoServer(folder, more="max_queued_messages 0\nmax_inflight_messages 200")
