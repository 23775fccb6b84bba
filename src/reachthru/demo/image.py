"""The guest's kernel and initramfs, built from Debian packages and this very installation.

An initramfs is a row of archives that the kernel unpacks one over the other. What comes from
packages is one of them and our own code another, so that a change to the code is packed in a
moment. Each is kept under a name that is the hash of all that went into it.
"""

import fcntl
import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import reachthru
from reachthru.demo import layers
from reachthru.demo.errors import DemoError
from reachthru.demo.packages import KERNEL_META_PACKAGE, fetch

_KEPT_S = 3600  # since its last use


class ImageError(DemoError):
    """The image can't be built here: one line that says why."""


@dataclass(frozen=True)
class GuestImage:
    """What QEMU boots: `-kernel` and `-initrd`. Both are readable by everybody."""

    kernel: Path
    initramfs: Path


def _quiet(_text: str) -> None:
    pass


def build_image(
    build_dir: Path, progress: Callable[[str], None] = _quiet, *, guest_agent: bool = False
) -> GuestImage:
    """The image under `build_dir`/guest, built if it is not there yet. Raises `DemoError`.

    `progress` is told, in a few words, of each step that takes time. With `guest_agent`, QEMU's
    own agent is in it as well, and runs where the VM has its port.
    """
    if platform.machine() != "x86_64" or sys.implementation.name != "cpython":
        raise ImageError("the guest image is made for x86_64 and CPython only")
    wanted = [KERNEL_META_PACKAGE, *layers.BASE_PACKAGES]
    if guest_agent:
        wanted += layers.GUEST_AGENT_PACKAGES
    target = build_dir.resolve() / "guest"
    target.mkdir(parents=True, exist_ok=True)
    with _locked(target / "lock"):
        folders = fetch(wanted, build_dir.resolve() / "cache", progress)
        parts = [_kept(target, "base", layers.base(folders), progress)]
        if guest_agent:
            parts.append(_kept(target, "agent", layers.guest_agent(folders), progress))
        parts.append(_kept(target, "code", layers.code(Path(reachthru.__file__).parent), progress))
        _forget_old(target)
        return GuestImage(
            kernel=layers.kernel(folders[KERNEL_META_PACKAGE]), initramfs=_joined(target, parts)
        )


def _kept(target: Path, name: str, layer: layers.Layer, progress: Callable[[str], None]) -> Path:
    """The layer's archive as a file, packed only if no file has its inputs' hash."""
    path = target / f"{name}-{layer.fingerprint()}.cpio.gz"
    if not path.exists():
        progress(f"packing the guest's {layer.title}")
        _write(path, layer.pack())
    path.touch()
    return path


def _joined(target: Path, parts: list[Path]) -> Path:
    digest = hashlib.sha256("".join(part.name for part in parts).encode()).hexdigest()[:16]
    path = target / f"initramfs-{digest}.gz"
    if not path.exists():
        _write(path, b"".join(part.read_bytes() for part in parts))
    path.touch()
    return path


def _forget_old(target: Path) -> None:
    """Every change to the code leaves an image behind; one that a VM boots now is young."""
    for path in target.glob("*.gz"):
        if time.time() - path.stat().st_mtime > _KEPT_S:
            path.unlink()


def _write(path: Path, content: bytes) -> None:
    """Whole, or not at all: an interrupted build leaves nothing that looks like a result."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.chmod(0o644)
    partial.rename(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one builder at a time; test workers and a demo may want the image at once."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
