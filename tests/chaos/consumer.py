"""A webhook that fails half of the time, in each way that one can, and keeps what it took."""

import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

FAILURES = 0.5
SLOW_S = 0.3


class Taken(NamedTuple):
    instance: str
    fault_id: str
    status: str


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_who: object) -> None:
        """Whoever posts may be killed in the middle of it."""


class Consumer:
    """`taken` has every POST that had an effect or would have had one, in order, repeats too."""

    def __init__(self, seed: int) -> None:
        self.taken: list[Taken] = []
        self.answers: Counter[str] = Counter()
        self.failing = True
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        consumer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                consumer.answer(self, json.loads(body))

            def log_message(self, *_words: object) -> None: ...

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/fault"

    def __enter__(self) -> "Consumer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Any, fault: dict[str, Any]) -> None:
        """Half of the time: refuses, or takes it and says so too late, or not at all."""
        with self._lock:
            how = "taken"
            if self.failing and self._chance.random() < FAILURES:
                how = self._chance.choice(["refused", "refused", "taken in silence", "hung up"])
            self.answers[how] += 1
            if how in ("taken", "taken in silence"):
                self.taken.append(Taken(fault["instance_uuid"], fault["id"], fault["status"]))
        if how == "taken in silence":
            time.sleep(SLOW_S)
        if how in ("taken in silence", "hung up"):
            request.close_connection = True
            return
        request.send_response(200 if how == "taken" else 503)
        request.send_header("Content-Length", "0")
        request.end_headers()
