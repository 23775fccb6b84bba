"""Whoever is told of faults, as small as it gets: a web server that notes what came, and when."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Delivery:
    """One POST: the fault object, and when it arrived by the monotonic and the wall clock."""

    fault: dict[str, Any]
    arrived_at: float = field(default_factory=time.monotonic)
    wall_time_s: float = field(default_factory=time.time)

    def is_change(self, kind: str, status: str, instance_uuid: str) -> bool:
        wanted = (kind, status, instance_uuid)
        return wanted == tuple(self.fault.get(key) for key in ("kind", "status", "instance_uuid"))


class Consumer:
    """Listens on 127.0.0.1 at a free port from its making until `close` or the `with`'s end."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._deliveries: list[Delivery] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/fault"

    def deliveries(self) -> list[Delivery]:
        """Everything that came, in order of arrival."""
        with self._arrived:
            return list(self._deliveries)

    def wait_for(
        self, wanted: Callable[[Delivery], bool], timeout_s: float, since: float = 0.0
    ) -> Delivery | None:
        """The first delivery that arrived after `since` (monotonic) and is `wanted`.

        None if there is none within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while True:
                for delivery in self._deliveries:
                    if delivery.arrived_at >= since and wanted(delivery):
                        return delivery
                if not self._arrived.wait(deadline - time.monotonic()):
                    return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        consumer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                consumer._note(body)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler

    def _note(self, body: bytes) -> None:
        delivery = Delivery(json.loads(body))
        with self._arrived:
            self._deliveries.append(delivery)
            self._arrived.notify_all()
