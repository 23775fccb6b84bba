"""What this machine knows: processes, sockets, files, room. Linux's /proc, and no rights needed
but to see others' sockets.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_LISTENING = "0A"  # tcp(7) states, as /proc/net/tcp has them
_CONNECTED = "03"  # of /proc/net/unix
_PROBE_BYTES = 64 * 1024


class Process(NamedTuple):
    pid: int
    uid: int
    words: list[str]

    @property
    def name(self) -> str:
        return Path(self.words[0]).name if self.words else "?"

    def option(self, name: str) -> str | None:
        """What stands behind `name`, or behind its `=`."""
        for number, word in enumerate(self.words):
            if word == name and number + 1 < len(self.words):
                return self.words[number + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return None


def processes() -> Iterator[Process]:
    """All but this one, and those that end meanwhile."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            pid = int(folder.name)
            if words and pid != os.getpid():
                yield Process(pid, folder.stat().st_uid, words)


def daemons(script: str, module: str, config: Path, default: Path) -> list[Process]:
    """Those that run `script`, or `python -m module`, with the settings in `config`."""
    found = []
    for process in processes():
        is_it = any(Path(word).name == script for word in process.words[:3])
        is_it = is_it or module in process.words[:6]
        settings = process.option("--config-file") or str(default)
        if is_it and _same(_there(process, settings), config):
            found.append(process)
    return found


def _there(process: Process, path: str) -> Path:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process.pid}/cwd").readlink() / path
    return Path(path)


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def listener(port: int) -> Process | None:
    """Who listens on that TCP port; None: nobody, or nobody whom we may see."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            inodes |= listening_inodes(Path(table).read_text(), port)
    for process in processes() if inodes else ():
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                target = str(descriptor.readlink())
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    return process
    return None


def listening_inodes(table: str, port: int) -> set[str]:
    """Of /proc/net/tcp."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {
        row[9]
        for row in rows
        if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port
    }


def is_connected(path: str) -> bool:
    """Somebody is connected to the UNIX socket that listens at `path`."""
    return connected(Path("/proc/net/unix").read_text(), path)


def connected(table: str, path: str) -> bool:
    """By /proc/net/unix: the server's end of a connection has the listener's path."""
    rows = (line.split(maxsplit=7) for line in table.splitlines()[1:])
    return any(len(row) == 8 and row[5] == _CONNECTED and row[7] == path for row in rows)


def write_trouble(folder: Path) -> str | None:
    """Why a file can't be written there; None: it can be."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".reachthru-doctor-") as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return None


def free_bytes(folder: Path) -> int:
    """For who is not root. Raises `OSError`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def may_write(folder: Path, uid: int) -> bool:
    """By the folder's owner and mode alone: groups are not looked at where `uid` owns nothing."""
    found = folder.stat()
    if uid == 0:
        return True
    if found.st_uid == uid:
        return bool(found.st_mode & 0o200)
    return bool(found.st_mode & 0o022)
