"""A Debian 12 with systemd, in QEMU: its image is made once, and never written to."""

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from reachthru.demo.archive import Archive
from reachthru.demo.image import GuestImage
from reachthru.demo.packages import KERNEL_META_PACKAGE, fetch
from reachthru.demo.qemu_vm import QemuVm

FILES = Path(__file__).parent / "systemd_vm_files"
MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"]
MODULES += ["virtio_blk", "virtio_console", "overlay"]
# An empty Debian, and what our packages depend on: the VM has no network to fetch it from.
PACKAGES = ["systemd-sysv", "udev", "dbus", "adduser", "python3", "python3-libvirt", "curl"]
# Not in every image, and slow when emulated.
LEFT_OUT = ["man", "locale", "info"]
MASKED = ["getty@tty1.service", "serial-getty@ttyS0.service", "apt-daily.timer"]
MASKED += ["apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer", "systemd-logind.service"]
MASKED += ["systemd-pstore.service", "e2scrub_reap.service", "dpkg-db-backup.timer"]
SIZE_MIB = 1600
# systemd runs each of them again whenever it is reloaded; /debs is in the fstab.
GENERATORS = ["bless-boot", "cryptsetup", "debug", "getty", "gpt-auto", "hibernate-resume"]
GENERATORS += ["integritysetup", "rc-local", "run", "system-update", "sysv", "veritysetup"]
DOOR = """
[Unit]
Description=the lab's door
After=basic.target
[Service]
ExecStart=/usr/bin/python3 -IS /lab/door.py
Nice=-5
[Install]
WantedBy=multi-user.target
"""


def build_system(build_dir: Path, also: Sequence[str] = ()) -> tuple[GuestImage, Path]:
    """Kernel with initramfs, and the disk, below `build_dir`; made where they are not there.
    `also`: Debian's packages that an empty Debian has not.
    """
    cache = build_dir.resolve() / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    inputs = [path.read_bytes() for path in (Path(__file__), FILES / "door.py", FILES / "init")]
    key = hashlib.sha256(b"".join(inputs)).hexdigest()[:16]
    name = "-".join(["systemd-vm", *also])
    with (cache / "systemd-vm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folders = fetch([KERNEL_META_PACKAGE, "busybox-static"], cache, print)
        kernel = next(folders[KERNEL_META_PACKAGE].glob("boot/vmlinuz-*"))
        initramfs, disk = cache / f"{name}.{key}.cpio.gz", cache / f"{name}.{key}.ext4"
        if not disk.exists():
            for old in cache.glob(f"{name}.*.*"):
                old.unlink()
            initramfs.write_bytes(_initramfs(folders))
            _make_disk(disk, also)
    return GuestImage(kernel, initramfs), disk


def _initramfs(folders: dict[str, Path]) -> bytes:
    archive = Archive()
    archive.add_character_device("/dev/console", 5, 1)
    archive.add_file("/init", (FILES / "init").read_bytes(), executable=True)
    busybox = folders["busybox-static"] / "bin/busybox"
    archive.add_file("/bin/busybox", busybox.read_bytes(), executable=True)
    for module in MODULES:
        found = next(folders[KERNEL_META_PACKAGE].rglob(f"{module}.ko"))
        archive.add_file(f"/modules/{module}.ko", found.read_bytes())
    return archive.compressed()


def _make_disk(disk: Path, also: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(dir=disk.parent, prefix="vm-") as folder:
        root = Path(folder, "root")
        excludes = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
        command = ["mmdebstrap", "--quiet", "--variant=minbase", *excludes]
        command += [f"--include={','.join([*PACKAGES, *also])}", "--dpkgopt=force-unsafe-io"]
        subprocess.run([*command, "bookworm", root], check=True)
        (root / "lab").mkdir()
        shutil.copy(FILES / "door.py", root / "lab/door.py")
        units = root / "etc/systemd/system"
        (units / "lab.service").write_text(DOOR)
        (units / "multi-user.target.wants/lab.service").symlink_to("../lab.service")
        for unit in MASKED:
            (units / unit).unlink(missing_ok=True)
            (units / unit).symlink_to("/dev/null")
        generators = root / "etc/systemd/system-generators"
        generators.mkdir()
        for name in GENERATORS:
            (generators / f"systemd-{name}-generator").symlink_to("/dev/null")
        (root / "etc/fstab").write_text("/dev/vdb /debs ext4 ro,nofail 0 0\n")
        (root / "debs").mkdir()
        (root / "etc/hostname").write_text("empty-debian\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost empty-debian\n")
        make_ext4(root, Path(folder, "disk"), SIZE_MIB)
        Path(folder, "disk").rename(disk)


def make_ext4(content: Path, disk: Path, size_mib: int) -> None:
    command = ["mkfs.ext4", "-q", "-O", "^has_journal", "-d", content, disk, f"{size_mib}M"]
    subprocess.run(command, check=True)


class SystemdVm(QemuVm):
    """`debs` is a disk that the guest has at /debs. What the guest writes is gone with it."""

    def __init__(
        self, image: GuestImage, disk: Path, debs: Path, folder: Path, ports: Path
    ) -> None:
        super().__init__(image, folder, ports, settings=None, memory_mib=1536)
        self._disks = (disk, debs)

    def _command(self) -> list[str]:
        # Two: dpkg unpacks with one and writes with the other, and daemons start side by side.
        command = [*super()._command(), "-smp", "2"]
        for disk in self._disks:
            command += ["-drive", f"file={disk},format=raw,if=virtio,snapshot=on"]
        command[command.index("-append") + 1] += " systemd.show_status=0 net.ifnames=0"
        return [
            f"{word},id=ours" if word.endswith(f"name={self._port}") else word for word in command
        ]

    def unplug(self) -> None:
        """The port goes, as when its hypervisor takes it away."""
        with self.qmp() as qmp:
            qmp.execute("device_del", id="ours")

    def plug(self) -> None:
        with self.qmp() as qmp:
            device = {"driver": "virtserialport", "bus": "vs0.0", "chardev": "channel0"}
            qmp.execute("device_add", **device, name=self._port, id="ours")

    def check(self, command: str, timeout_s: float = 120) -> str:
        """What `command` said, which must have succeeded."""
        done = self.run(command, timeout_s)
        assert done.exit_code == 0, f"{command}: exit status {done.exit_code}: {done.output}"
        return done.output

    def until(self, command: str, timeout_s: float = 60) -> None:
        """Returns when `command` succeeds."""
        deadline = time.monotonic() + timeout_s
        while (done := self.run(command, timeout_s)).exit_code:
            assert time.monotonic() < deadline, f"{command} never succeeded: {done.output}"
            time.sleep(0.2)
