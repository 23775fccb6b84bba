"""A disk of one megabyte, which tests fill, empty, and make read-only. Needs root."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

CHUNK = b"x" * 4096


class SmallDisk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(CHUNK)

    def empty(self) -> None:
        self._filler.unlink()

    def make_read_only(self) -> None:
        self._mount("remount,ro")

    def make_writable(self) -> None:
        self._mount("remount,rw,size=1m")

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", options, self.path], check=True)


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "reachthru-test", path], check=True)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
