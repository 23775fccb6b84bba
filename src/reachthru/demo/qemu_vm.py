"""A machine under plain QEMU, with its port where a directory-discovering host agent looks."""

import signal
import time
from pathlib import Path

from reachthru.demo.door import PORT as LAB_PORT
from reachthru.demo.image import GuestImage
from reachthru.demo.processes import Process
from reachthru.demo.qmp import Qmp, QmpError
from reachthru.demo.vm import GUEST_AGENT_PORT, KERNEL_ARGUMENTS, SETTINGS_NAME, Vm, VmError

QEMU = "qemu-system-x86_64"
_START_TIMEOUT_S = 10
_POLL_S = 0.01
_STATE: dict[str, object] = {"tag": "state", "vmstate": "state", "devices": ["state"]}
_SOCKET_PATH_LIMIT = 107  # sun_path, less its NUL


class QemuVm(Vm):
    """`ports` gets the port's socket, `<port>.<uuid>.sock`, which stays behind at `kill` as it
    does in real life; `folder` gets everything else. `settings` is the guest daemon's TOML; with
    None no daemon is started.
    """

    def __init__(
        self,
        image: GuestImage,
        folder: Path,
        ports: Path,
        settings: str | None,
        *,
        port: str = "cgcs.messaging",
        guest_agent: bool = False,
        memory_mib: int = 256,
    ) -> None:
        super().__init__()
        self._image = image
        self._folder = folder / self.uuid[:8]
        self._ports = ports
        self._port = port
        self._settings = settings
        self._guest_agent = guest_agent
        self._memory_mib = memory_mib
        self._process: Process | None = None

    @property
    def port_path(self) -> Path:
        return self._ports / f"{self._port}.{self.uuid}.sock"

    @property
    def lab_path(self) -> Path:
        return self._folder / "lab.sock"

    @property
    def guest_agent_path(self) -> Path:
        return self._folder / "agent.sock"

    @property
    def process(self) -> Process:
        if self._process is None:
            raise VmError("the VM has not been started")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        for path in (self.port_path, self.guest_agent_path):
            if len(str(path)) > _SOCKET_PATH_LIMIT:
                raise VmError(f"{path}: longer than the {_SOCKET_PATH_LIMIT} bytes of a socket")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._launch(self._command())

    def _launch(self, command: list[str]) -> None:
        """Returns when QEMU's monitor answers."""
        (self._folder / "qmp.sock").unlink(missing_ok=True)  # an earlier QEMU's
        self._process = Process(command, self._folder / "qemu.log")
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process.exit_code is not None:
                raise VmError(f"QEMU ended at once: {self._process.log_text().strip()}")
            if time.monotonic() > deadline:
                raise VmError(f"QEMU opened no monitor within {_START_TIMEOUT_S} s")
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        """Whether there is a monitor. Its socket is there a moment before anybody listens."""
        try:
            with self.qmp():
                return True
        except QmpError:
            return False

    def qmp(self) -> Qmp:
        """A connection to its monitor, which serves one at a time."""
        return Qmp(self._folder / "qmp.sock")

    def console_text(self) -> str:
        path = self._folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def running(self) -> bool:
        return self.process.exit_code is None

    def freeze(self) -> float:
        """Stops the QEMU process itself: neither the guest nor its monitor moves any more."""
        return self.process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send(signal.SIGCONT)

    def reset(self) -> float:
        moment = time.monotonic()
        with self.qmp() as qmp:
            qmp.execute("system_reset")
        return moment

    def save_state(self) -> None:
        file = {"driver": "file", "filename": str(self._state_path)}
        image: dict[str, object] = {"driver": "qcow2", "file": "state-file"}
        with self.qmp() as qmp:
            qmp.run_job("blockdev-create", options={**file, "size": 0})
            qmp.execute("blockdev-add", **{**file, "node-name": "state-file"})
            qmp.run_job("blockdev-create", options={**image, "size": 1 << 20})
            qmp.execute("blockdev-add", **{**image, "node-name": "state"})
            qmp.run_job("snapshot-save", **_STATE)

    def load_state(self) -> None:
        self.close_door()
        if self.running():
            with self.qmp() as qmp:
                qmp.run_job("snapshot-load", **_STATE)
        else:
            disk = f"driver=qcow2,node-name=state,file.driver=file,file.filename={self._state_path}"
            self._launch([*self._command(), "-blockdev", disk, "-loadvm", "state"])

    @property
    def _state_path(self) -> Path:
        return self._folder / "state.qcow2"

    def shutdown(self, timeout_s: float = 20) -> None:
        with self.qmp() as qmp:
            qmp.execute("system_powerdown")
        if self.process.wait(timeout_s) is None:
            raise VmError(f"the guest did not power off within {timeout_s} s")

    def kill(self) -> float:
        moment = self.process.send(signal.SIGKILL)
        self.process.wait(5)
        return moment

    def close(self) -> None:
        self.close_door()
        if self._process is not None:
            self._process.stop()
        self.port_path.unlink(missing_ok=True)

    def _command(self) -> list[str]:
        command = [
            *(QEMU, "-accel", "tcg", "-cpu", "max", "-m", str(self._memory_mib)),
            *("-uuid", self.uuid, "-no-user-config", "-nodefaults", "-display", "none"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initramfs)),
            *("-append", KERNEL_ARGUMENTS, "-serial", f"file:{self._folder / 'console.log'}"),
            *("-qmp", f"unix:{self._folder / 'qmp.sock'},server=on,wait=off"),
            *("-device", "virtio-serial-pci,id=vs0"),
        ]
        ports = {self._port: self.port_path, LAB_PORT: self.lab_path}
        if self._guest_agent:  # ahead of ours: other monitors look at the first one only
            ports = {GUEST_AGENT_PORT: self.guest_agent_path, **ports}
        for number, (name, path) in enumerate(ports.items()):
            backend = f"socket,id=channel{number},path={path},server=on,wait=off"
            device = f"virtserialport,bus=vs0.0,chardev=channel{number},name={name}"
            command += ["-chardev", backend, "-device", device]
        if self._settings is not None:
            path = self._folder / "guest.toml"
            path.write_text(self._settings)
            command += ["-fw_cfg", f"name={SETTINGS_NAME},file={path}"]
        return command
