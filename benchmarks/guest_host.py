"""The host's end of guests' ports, played by the benchmark: its cost is not the guests'."""

import json
import select
import socket
import time
from collections.abc import Sequence

LIMIT_S = 30.0


class GuestPort:
    """One guest, from the moment that the host's end of its port is a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.answers = 0
        self._kept = b""
        self._sequence = 0

    def wait_init(self) -> None:
        """Returns the moment that a guest registers; the caller acknowledges it."""
        self.connection.settimeout(LIMIT_S)
        while not any(data["msg_type"] == "init" for data in self._read()):
            pass

    def acknowledge(self) -> None:
        """Of the init that was read last."""
        self._send("init_ack", invocation_id=self._invocation_id)

    def challenge(self) -> None:
        self._send("challenge", heartbeat_challenge=self._sequence + 1)

    def take_answers(self) -> None:
        self.answers += sum(data["msg_type"] == "challenge_response" for data in self._read())

    def _read(self) -> list[dict[str, object]]:
        data = self.connection.recv(65536)
        if not data:
            raise ConnectionError("the guest has closed its port")
        *lines, self._kept = (self._kept + data).split(b"\n")
        messages = [json.loads(line)["data"] for line in lines if line]
        for message in messages:
            if message["msg_type"] == "init":
                self._invocation_id = message["invocation_id"]
        return messages

    def _send(self, msg_type: str, **fields: object) -> None:
        self._sequence += 1
        data = {"msg_type": msg_type, "version": 3, "revision": 1, "sequence": self._sequence}
        envelope = {
            "version": 1,
            "source_addr": "cgcs.heartbeat",
            "dest_addr": "cgcs.heartbeat",
            "data": {**data, **fields},
        }
        self.connection.sendall(b"\n" + json.dumps(envelope).encode() + b"\n")


def challenge_all(ports: Sequence[tuple[GuestPort, int]], seconds: float) -> None:
    """Each guest at its own interval in ms, their beats apart; all are heard. Raises if not."""
    began = time.monotonic()
    due = [
        began + index / len(ports) * interval_ms / 1000
        for index, (_port, interval_ms) in enumerate(ports)
    ]
    poller = select.poll()
    by_fd = {port.connection.fileno(): port for port, _interval_ms in ports}
    for fd in by_fd:
        poller.register(fd, select.POLLIN)
    until = began + seconds
    while (now := time.monotonic()) < until:
        for index, (port, interval_ms) in enumerate(ports):
            if now >= due[index]:
                due[index] += interval_ms / 1000
                port.challenge()
        for fd, _events in poller.poll(max(0.0, min(*due, until) - time.monotonic()) * 1000):
            by_fd[fd].take_answers()
    for port, interval_ms in ports:
        if port.answers < seconds * 1000 / interval_ms / 2:
            raise RuntimeError(f"a guest challenged every {interval_ms} ms gave {port.answers}")
