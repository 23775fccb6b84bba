"""The least that a guest in Python can be: a selectors loop and json, with no logic at all.

It registers and answers challenges. No checks, no applications, no server group, no settings, no
bounds, no second try. It stands in the guest daemon's place, before the same host.

    python -m benchmarks.reference_guest PORT

PORT is a listening UNIX socket or a virtio-serial port's device. Standard library only, as it
also runs in a VM that has nothing else.
"""

import json
import os
import selectors
import socket
import sys


def main(path: str) -> None:
    fd = _open(path)
    _send(fd, {"msg_type": "init", "invocation_id": 1, "name": "vm", "heartbeat_interval_ms": 1000})
    selector = selectors.DefaultSelector()
    selector.register(fd, selectors.EVENT_READ)
    kept = b""
    while True:
        selector.select()
        data = os.read(fd, 8192)
        if not data:
            return
        *lines, kept = (kept + data).split(b"\n")
        for line in lines:
            if line:
                message = json.loads(line)["data"]
                if message["msg_type"] == "challenge":
                    answer = {
                        "msg_type": "challenge_response",
                        "heartbeat_response": message["heartbeat_challenge"],
                        "heartbeat_health": "healthy",
                        "corrective_action": "log",
                        "log_msg": "",
                    }
                    _send(fd, answer)


def _open(path: str) -> int:
    if path.startswith("/dev/"):
        return os.open(path, os.O_RDWR)
    port = socket.socket(socket.AF_UNIX)
    port.connect(path)
    return port.detach()


def _send(fd: int, data: dict[str, object]) -> None:
    envelope = {
        "version": 1,
        "source_addr": "cgcs.heartbeat",
        "dest_addr": "cgcs.heartbeat",
        "data": {"version": 3, "revision": 1, "sequence": 0, **data},
    }
    os.write(fd, b"\n" + json.dumps(envelope).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
