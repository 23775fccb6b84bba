"""A cpio archive in the "newc" format, which is what the kernel unpacks as its initramfs.

The format is in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst: a
header of fixed-width hexadecimal fields, the name, the content, each padded to four bytes.
"""

import gzip
import stat
from pathlib import PurePosixPath

_TRAILER = "TRAILER!!!"


class Archive:
    """Files by their absolute path in the guest; parent folders are made as needed."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._folders: set[PurePosixPath] = set()
        self._count = 0

    def add_file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        self._add_parents(path)
        self._append(path, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def add_link(self, path: str, target: str) -> None:
        self._add_parents(path)
        self._append(path, stat.S_IFLNK | 0o777, target.encode())

    def add_folder(self, path: str) -> None:
        self._add_parents(f"{path}/inside")

    def add_character_device(self, path: str, major: int, minor: int) -> None:
        self._add_parents(path)
        self._append(path, stat.S_IFCHR | 0o600, b"", device=(major, minor))

    def compressed(self) -> bytes:
        """The archive, closed and gzipped. Several of them in a row are one initramfs.

        Level 1: the guest's emulated processor pays for every byte that it unpacks, and higher
        levels only save bytes that this machine reads at once.
        """
        self._append(_TRAILER, 0, b"")
        packed = gzip.compress(b"".join(self._parts), compresslevel=1, mtime=0)
        return packed + b"\0" * (-len(packed) % 4)

    def _add_parents(self, path: str) -> None:
        for folder in reversed(PurePosixPath(path.lstrip("/")).parents):
            if folder.name and folder not in self._folders:
                self._folders.add(folder)
                self._append(str(folder), stat.S_IFDIR | 0o755, b"")

    def _append(
        self, path: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)
    ) -> None:
        self._count += 1
        name = path.lstrip("/").encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        no_owner, no_time, no_check = (0, 0), 0, 0
        fields = (
            *(self._count, mode, *no_owner, links, no_time, len(content)),
            *(0, 0, *device, len(name), no_check),
        )
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self._parts += [header, _padding(header), content, _padding(content)]


def _padding(data: bytes) -> bytes:
    return b"\0" * (-len(data) % 4)
