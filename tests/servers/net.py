"""A network namespace with a cable to ours, which can be pulled. Needs root."""

import contextlib
import os
import subprocess
from collections.abc import Iterator


class Cable:
    """`inside` runs a command in the namespace; `address` is our end's, as seen from there."""

    def __init__(self) -> None:
        self._name = f"rt{os.getpid()}"
        block = os.getpid() % 16384  # of 4 addresses each, so that tests beside us have others
        start = f"10.213.{block // 64}"
        self.address = f"{start}.{block % 64 * 4 + 1}"
        self._there = f"{start}.{block % 64 * 4 + 2}"
        self.inside = ["ip", "netns", "exec", self._name]

    def open(self) -> None:
        name = self._name
        self._ip("netns", "add", name)
        self._ip("link", "add", f"{name}a", "type", "veth", "peer", f"{name}b", "netns", name)
        self._ip("addr", "add", f"{self.address}/30", "dev", f"{name}a")
        self._ip("-n", name, "addr", "add", f"{self._there}/30", "dev", f"{name}b")
        self._ip("-n", name, "link", "set", f"{name}b", "up")
        self.plug()

    def pull(self) -> None:
        """Nobody is told: what is sent is simply gone."""
        self._ip("link", "set", f"{self._name}a", "down")

    def plug(self) -> None:
        self._ip("link", "set", f"{self._name}a", "up")

    def close(self) -> None:
        """The namespace takes the cable with it, once its processes have ended."""
        self._ip("link", "del", f"{self._name}a")
        self._ip("netns", "del", self._name)

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    made = Cable()
    made.open()
    try:
        yield made
    finally:
        made.close()
