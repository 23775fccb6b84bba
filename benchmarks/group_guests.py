"""Guests that broadcast and listen, played by the benchmark: their cost is not counted.

They are what an agent sees of a VM: sockets in a folder. They do not register, so that nothing but
broadcasts moves.
"""

import json
import re
import select
import socket
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Self

LIMIT_S = 20.0
ADDRESS = "cgcs.server_grp"
_BROADCAST = re.compile(rb'"msg_type":"broadcast"[^\n]*"data":"(\d+) [^\n]*\n')


class GroupGuests:
    """One thread reads all of them. `arrivals` is by message number, on the monotonic clock."""

    def __init__(self) -> None:
        self.arrivals: defaultdict[int, list[float]] = defaultdict(list)
        self._connections: dict[str, socket.socket] = {}
        self._kept: dict[int, bytes] = {}
        self._listeners: list[tuple[str, socket.socket]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="guests", daemon=True)

    def appear(self, ports: Path, uuid: str) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(ports / f"cgcs.messaging.{uuid}.sock"))
        listener.listen(1)
        listener.settimeout(LIMIT_S)
        self._listeners.append((uuid, listener))

    def __enter__(self) -> Self:
        """Returns when the agents are connected to all that have appeared."""
        self._poller = select.epoll()
        for uuid, listener in self._listeners:
            connection, _ = listener.accept()
            listener.close()
            connection.setblocking(False)
            self._connections[uuid] = connection
            self._poller.register(connection, select.EPOLLIN)
        self._by_fd = {peer.fileno(): peer for peer in self._connections.values()}
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._thread.join()
        for connection in self._connections.values():
            connection.close()

    def broadcast(self, uuid: str, text: str) -> float:
        """Returns the moment before."""
        data = {"msg_type": "broadcast", "data": text}
        envelope = {"version": 1, "source_addr": ADDRESS, "dest_addr": ADDRESS, "data": data}
        line = b"\n" + json.dumps(envelope).encode() + b"\n"
        moment = time.monotonic()
        self._connections[uuid].sendall(line)
        return moment

    def _read(self) -> None:
        while not self._stopping.is_set():
            for fd, _events in self._poller.poll(0.2):
                data = self._kept.get(fd, b"") + self._by_fd[fd].recv(65536)
                now = time.monotonic()
                whole = data.rfind(b"\n") + 1
                self._kept[fd] = data[whole:]
                for found in _BROADCAST.finditer(data[:whole]):
                    self.arrivals[int(found[1])].append(now)
