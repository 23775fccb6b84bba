"""A controller, a host agent and three guests as processes, and whoever watches them: Prometheus,
an OpenTelemetry collector, a webhook."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from servers.ports import free_port

TESTS = Path(__file__).parents[1]
FIELD_GUEST = TESTS / "integration" / "host_agent" / "field_guest.py"
SICK = "a guest's own words: \x1b[31mred\x1b[0m\nERROR forged: a line that nobody logged"


def until(check: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """What `check` gives once it gives something."""
    deadline = time.monotonic() + timeout_s
    while not (result := check()):
        assert time.monotonic() < deadline, f"not in {timeout_s} s"
        time.sleep(0.05)
    return result


class Receiver:
    """Keeps the bodies of what was posted to it; answers `status`."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.bodies.append(body)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[tuple[str, Any]]:
        """(service, span) of everything that came by OTLP."""
        found = []
        for body in list(self.bodies):
            for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = attributes(resource_spans.resource)
                for scope in resource_spans.scope_spans:
                    found += [(resource["service.name"], span) for span in scope.spans]
        return found


def attributes(described: Any) -> dict[str, Any]:
    return {
        entry.key: entry.value.string_value or entry.value.int_value
        for entry in described.attributes
    }


class Watched:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host_metrics, self.api, self.prometheus = free_port(), free_port(), free_port()
        self.webhook, self.collector = Receiver(), Receiver()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.guests: list[str] = []

    def start(self) -> None:
        bus_port, ports = free_port(), self.folder / "ports"
        ports.mkdir()
        watching = (
            f"debug = true\nuse_json = true\n[tracing]\notlp_endpoint = {self.collector.url}\n"
        )
        controller = self._write(
            "controller.conf",
            f"[DEFAULT]\n{watching}[bus]\nurl = mqtt://embedded:{bus_port}\n"
            f"[database]\nconnection = sqlite:///{self.folder}/controller.sqlite\n"
            f"[api]\nlisten = 127.0.0.1:{self.api}\n"
            f"[sinks]\nenabled = log, webhook\n[sink_webhook]\nurl = {self.webhook.url}\n",
        )
        host = self._write(
            "host.conf",
            f"[DEFAULT]\nhost = compute-w\n{watching}[bus]\nurl = mqtt://127.0.0.1:{bus_port}\n"
            f"[discovery]\ndriver = directory\n[directory]\npath = {ports}\n"
            f"[metrics]\nlisten = 127.0.0.1:{self.host_metrics}\n"
            f"[outbox]\npath = {self.folder}/outbox.sqlite\n",
        )
        self._start("controller", "-m", "reachthru.controller_server.cli", "--config-file",
                    str(controller))  # fmt: skip
        until(lambda: self.ask(f"http://127.0.0.1:{self.api}/readyz"))
        self._start("host", "-m", "reachthru.host_agent.cli", "--config-file", str(host))
        self._play(ports)
        until(lambda: len(self.registered()) == 3)
        self._start_prometheus()

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def _start(self, name: str, *arguments: str, command: str = sys.executable) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [command, *arguments], stdout=log, stderr=log, env=dict(os.environ)
            )

    def _play(self, ports: Path) -> None:
        players = subprocess.Popen(
            [sys.executable, FIELD_GUEST, ports, "--count", "3", "--interval-ms", "200"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert players.stdout is not None
        self.guests = json.loads(players.stdout.readline())["uuids"]
        self._processes["guests"] = players

    def tell(self, verb: str, guest: int, **arguments: Any) -> None:
        players = self._processes["guests"]
        assert players.stdin is not None
        assert players.stdout is not None
        order = {"do": verb, "guests": [guest], "arguments": arguments}
        players.stdin.write(json.dumps(order).encode() + b"\n")
        players.stdin.flush()
        while json.loads(players.stdout.readline())["event"] != "done":
            pass

    def _start_prometheus(self) -> None:
        rules = TESTS.parent / "packaging" / "prometheus" / "reachthru.rules.yml"
        settings = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": job,
                    "scrape_timeout": "500ms",
                    "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
                }
                for job, port in (
                    ("reachthru-host", self.host_metrics),
                    ("reachthru-controller", self.api),
                )
            ],
        }
        path = self._write("prometheus.yml", json.dumps(settings))  # YAML, too
        self._start(
            "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={self.folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.prometheus}",
            command="prometheus",
        )

    def ask(self, url: str) -> str | None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def metrics(self, port: int) -> str:
        return self.ask(f"http://127.0.0.1:{port}/metrics") or ""

    def registered(self) -> list[str]:
        text = self.ask(f"http://127.0.0.1:{self.api}/v1/instances") or '{"instances":[]}'
        return [one["uuid"] for one in json.loads(text)["instances"] if one["registered"]]

    def query(self, expression: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": expression})
        text = self.ask(f"http://127.0.0.1:{self.prometheus}/api/v1/query?{asked}")
        return list(json.loads(text)["data"]["result"]) if text else []

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def records(self, name: str, fault_id: str) -> list[dict[str, Any]]:
        """The lines of a daemon's log that one would find by grepping for `fault_id`."""
        lines = [line for line in self.log(name).splitlines() if fault_id in line]
        return [json.loads(line) for line in lines]

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in list(self.webhook.bodies)]

    def fault(self, verb: str, guest: int, status: str, **arguments: Any) -> dict[str, Any]:
        """The fault that comes of telling a guest so, as the webhook heard of it."""
        before = len(self.webhook.bodies)
        self.tell(verb, guest, **arguments)

        def find() -> dict[str, Any] | None:
            for fault in self.told()[before:]:
                if (fault["instance_uuid"], fault["status"]) == (self.guests[guest], status):
                    return fault
            return None

        found: dict[str, Any] = until(find)
        return found

    def close(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        self.webhook.close()
        self.collector.close()
