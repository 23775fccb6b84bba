"""What is in the guest, layer by layer. Size decides how long an emulated machine takes to boot."""

import hashlib
import importlib.util
import py_compile
import sys
import tempfile
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from reachthru.demo import archive as archive_module
from reachthru.demo.archive import Archive
from reachthru.demo.errors import DemoError

# The guest's Python is the one that runs here, as Debian packages it: msgspec's compiled module
# is copied from our own environment and fits no other.
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
BASE_PACKAGES = [
    *("busybox-static", "libc6", "zlib1g", "libexpat1"),
    *(f"{PYTHON}-minimal", f"lib{PYTHON}-minimal", f"lib{PYTHON}-stdlib"),
]
GUEST_AGENT_PACKAGES = [
    *("qemu-guest-agent", "libglib2.0-0", "libpcre2-8-0"),
    *("libnuma1", "libudev1", "liburing2"),
]
_BASE_LIBRARIES = {
    "libc6": ["libc.so.6", "libm.so.6", "libpthread.so.0"],
    "zlib1g": ["libz.so.1"],
    "libexpat1": ["libexpat.so.1"],
}
_GUEST_AGENT_LIBRARIES = {
    "libglib2.0-0": ["libglib-2.0.so.0", "libgmodule-2.0.so.0"],
    "libpcre2-8-0": ["libpcre2-8.so.0"],
    "libnuma1": ["libnuma.so.1"],
    "libudev1": ["libudev.so.1"],
    "liburing2": ["liburing.so.2"],
}
_LIBRARY_DIR = "/lib/x86_64-linux-gnu"
_PYTHON_DIR = f"/usr/lib/{PYTHON}"
_MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev"]
_MODULES += ["virtio_pci", "virtio_console", "qemu_fw_cfg", "button", "evdev"]

# Parts of the standard library that no guest daemon needs.
_LEFT_OUT = {
    *("asyncio", "concurrent", "curses", "dbm", "distutils", "email", "ensurepip", "html", "http"),
    *("idlelib", "lib2to3", "multiprocessing", "pydoc_data", "sqlite3", "test", "tkinter"),
    *("turtledemo", "unittest", "venv", "wsgiref", "xml", "xmlrpc", "ctypes", "lib-dynload"),
}
_EXTENSIONS = {"_contextvars", "_decimal", "_json", "_typing", "mmap", "resource", "termios"}

# Our packages that run in the guest.
_GUEST_CODE = ["__init__.py", "_version.py", "systemd.py", "protocol", "guest_daemon"]
_GUEST_FILES = {
    "init": "/init",
    "inittab": "/etc/inittab",
    "boot": "/lab/boot",
    "daemon": "/lab/daemon",
    "door": "/lab/door",
    "power_button": "/etc/acpi/PWRF/00000080",
    "reachthru-guest": "/usr/bin/reachthru-guest",
}


class LayerError(DemoError):
    """A part of the guest is not where it should be."""


@dataclass
class Layer:
    """One archive of the initramfs: what it is made of, and how."""

    title: str
    inputs: Callable[[], Iterator[bytes]]
    fill: Callable[[Archive], None]

    def fingerprint(self) -> str:
        """Changes with every byte that goes in, and with how it is put together."""
        digest = hashlib.sha256()
        builders = (Path(__file__), Path(archive_module.__file__))
        for part in (*(path.read_bytes() for path in builders), *self.inputs()):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()[:16]

    def pack(self) -> bytes:
        archive = Archive()
        self.fill(archive)
        return archive.compressed()


def kernel(folder: Path) -> Path:
    return _only(folder, "boot/vmlinuz-*")


def base(folders: dict[str, Path]) -> Layer:
    """Kernel modules, busybox, Python and msgspec. A package's folder name has its version."""
    spec = importlib.util.find_spec("msgspec")
    if spec is None or spec.origin is None:
        raise LayerError("msgspec is not installed here, and the guest needs it")
    msgspec = Path(spec.origin).parent

    def inputs() -> Iterator[bytes]:
        yield from (folders[package].name.encode() for package in BASE_PACKAGES)
        yield from (path.read_bytes() for path in sorted(msgspec.glob("*.so")))

    def fill(archive: Archive) -> None:
        archive.add_character_device("/dev/console", 5, 1)
        for mount_point in ("/proc", "/sys", "/tmp", "/run", "/bin"):  # noqa: S108
            archive.add_folder(mount_point)
        _add(archive, "/bin/busybox", _only(folders["busybox-static"], "bin/busybox"))
        for module in _MODULES:
            found = _only(folders["linux-image-cloud-amd64"], f"lib/modules/**/{module}.ko")
            _add(archive, f"/modules/{module}.ko", found)
        _add_libraries(archive, folders, _BASE_LIBRARIES)
        _add(
            archive,
            "/lib64/ld-linux-x86-64.so.2",
            _library(folders["libc6"], "ld-linux-x86-64.so.2"),
        )
        _add(archive, "/usr/bin/python3", _only(folders[f"{PYTHON}-minimal"], f"usr/bin/{PYTHON}"))
        for package in (f"lib{PYTHON}-minimal", f"lib{PYTHON}-stdlib"):
            root = folders[package] / f"usr/lib/{PYTHON}"
            _add_modules(archive, root, _PYTHON_DIR, leave_out=_LEFT_OUT)
            for extension in sorted(root.glob("lib-dynload/*.so")):
                if extension.name.split(".")[0] in _EXTENSIONS:
                    _add(archive, f"{_PYTHON_DIR}/lib-dynload/{extension.name}", extension)
        _add_modules(archive, msgspec, f"{_PYTHON_DIR}/msgspec")
        for extension in sorted(msgspec.glob("*.so")):
            _add(archive, f"{_PYTHON_DIR}/msgspec/{extension.name}", extension)

    return Layer("kernel modules and Python", inputs, fill)


def guest_agent(folders: dict[str, Path]) -> Layer:
    """QEMU's own guest agent, for tests that both can live side by side."""

    def inputs() -> Iterator[bytes]:
        yield from (folders[package].name.encode() for package in GUEST_AGENT_PACKAGES)

    def fill(archive: Archive) -> None:
        program = _only(folders["qemu-guest-agent"], "usr/sbin/qemu-ga")
        _add(archive, "/bin/qemu-ga", program)
        _add_libraries(archive, folders, _GUEST_AGENT_LIBRARIES)

    return Layer("QEMU guest agent", inputs, fill)


def code(package: Path) -> Layer:
    """Our guest daemon as it stands in `package`, and the guest's own few scripts."""
    scripts = Path(__file__).parent / "guest_files"
    sources = [
        path
        for name in _GUEST_CODE
        for path in ([package / name] if name.endswith(".py") else (package / name).rglob("*.py"))
        if path.exists()  # _version.py is there once something was built
    ]

    def inputs() -> Iterator[bytes]:
        for path in sorted([*sources, *scripts.iterdir()]):
            yield path.name.encode()
            yield path.read_bytes()

    def fill(archive: Archive) -> None:
        for name, target in _GUEST_FILES.items():
            _add(archive, target, scripts / name, executable=name != "inittab")
        for path in sorted(sources):
            _add_module(archive, path, f"{_PYTHON_DIR}/reachthru/{path.relative_to(package)}")

    return Layer("daemon", inputs, fill)


def _add(archive: Archive, target: str, source: Path, *, executable: bool = True) -> None:
    archive.add_file(target, source.read_bytes(), executable=executable)


def _add_libraries(
    archive: Archive, folders: dict[str, Path], libraries: dict[str, list[str]]
) -> None:
    for package, names in libraries.items():
        for name in names:
            _add(archive, f"{_LIBRARY_DIR}/{name}", _library(folders[package], name))


def _library(folder: Path, name: str) -> Path:
    return _only(folder, f"**/x86_64-linux-gnu/{name}")


def _add_modules(
    archive: Archive, root: Path, target: str, leave_out: Set[str] = frozenset()
) -> None:
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[0] not in leave_out and path.exists():  # Debian has dangling links there
            _add_module(archive, path, f"{target}/{relative}")


def _add_module(archive: Archive, source: Path, target: str) -> None:
    """Compiled, without its source: compiling in the guest would cost seconds of its start."""
    with tempfile.NamedTemporaryFile(suffix=".pyc") as compiled:
        py_compile.compile(
            str(source),
            cfile=compiled.name,
            dfile=target,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        archive.add_file(f"{target}c", Path(compiled.name).read_bytes())


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise LayerError(f"{folder.name} has {len(found)} files like {pattern}, not one")
    return found[0]
