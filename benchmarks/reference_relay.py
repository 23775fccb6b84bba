"""The floor that this machine allows: challenges and answers with no logic at all.

One epoll loop; a slot of 10 ms at a time: one write a guest that is due, one read and one parse
a guest that has answered. No sessions, no deadlines, no bounds, no faults. It stands in the host
agent's place, before the same guests.

    python -m benchmarks.reference_relay DIRECTORY INTERVAL_MS
"""

import select
import socket
import sys
import time
from pathlib import Path

import msgspec

SLOT_S = 0.01
CHALLENGE = (
    b'\n{"version":1,"source_addr":"cgcs.heartbeat","dest_addr":"cgcs.heartbeat","data":'
    b'{"msg_type":"challenge","version":3,"revision":1,"sequence":%d,"heartbeat_challenge":%d}}\n'
)
INIT_ACK = (
    b'\n{"version":1,"source_addr":"cgcs.heartbeat","dest_addr":"cgcs.heartbeat","data":'
    b'{"msg_type":"init_ack","version":3,"revision":1,"sequence":0,"invocation_id":%d}}\n'
)


def main(directory: str, interval_ms: str) -> None:
    ports: dict[int, socket.socket] = {}
    poller = select.epoll()
    for path in sorted(Path(directory).glob("*.sock")):
        port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        port.connect(str(path))
        port.setblocking(False)
        ports[port.fileno()] = port
        poller.register(port, select.EPOLLIN)
    slot_count = round(int(interval_ms) / 1000 / SLOT_S)
    slots: list[list[socket.socket]] = [[] for _ in range(slot_count)]
    for index, port in enumerate(ports.values()):
        slots[index % slot_count].append(port)
    decode = msgspec.json.decode
    number = 0
    next_slot = time.monotonic()
    while True:
        next_slot += SLOT_S
        time.sleep(max(0.0, next_slot - time.monotonic()))
        for descriptor, _event in poller.poll(0, maxevents=len(ports)):
            for line in ports[descriptor].recv(65536).split(b"\n"):
                if line:
                    data = decode(line)["data"]
                    if data["msg_type"] == "init":
                        ports[descriptor].send(INIT_ACK % data["invocation_id"])
        number += 1
        for port in slots[number % slot_count]:
            port.send(CHALLENGE % (number, number))


if __name__ == "__main__":
    main(*sys.argv[1:])
