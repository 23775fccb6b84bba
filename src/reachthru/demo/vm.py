"""What the lab does with a virtual machine, whoever started it.

Always software emulation: the lab must behave the same on a laptop, in CI and where /dev/kvm
exists but does not work.
"""

import time
import uuid as uuids
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from reachthru.demo.door import CommandResult, LabDoor
from reachthru.demo.errors import DemoError

BOOT_TIMEOUT_S = 60
GUEST_AGENT_PORT = "org.qemu.guest_agent.0"
SETTINGS_NAME = "opt/reachthru/guest.toml"
# panic=0: a guest that panicked hangs, as it would in production. random.trust_cpu: nobody waits
# for entropy. mitigations=off: nothing here is worth protecting, and emulation makes it dear.
KERNEL_ARGUMENTS = "console=ttyS0 panic=0 random.trust_cpu=on mitigations=off quiet loglevel=4"
_POLL_S = 0.02


class VmError(DemoError):
    """The machine did not do what it was asked."""


class Vm(ABC):
    """Starts at `with`, gone after it. Use from one thread.

    Injuries (`panic`, `signal_daemon`, `freeze`, `reset`, `kill`) return the moment before they
    were done, on this machine's monotonic clock.
    """

    def __init__(self) -> None:
        self.uuid = str(uuids.uuid4())
        self._door: LabDoor | None = None

    @property
    @abstractmethod
    def port_path(self) -> Path:
        """The socket that QEMU listens on for our port."""

    @property
    @abstractmethod
    def lab_path(self) -> Path:
        """The socket of the lab's door."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """The QEMU process."""

    @abstractmethod
    def start(self) -> None:
        """Starts QEMU. The guest is not up yet when this returns."""

    @abstractmethod
    def close(self) -> None:
        """Ends it, in whatever state it is, and leaves nothing behind."""

    @abstractmethod
    def console_text(self) -> str:
        """What kernel and daemon said on the serial console, since the machine was made."""

    @abstractmethod
    def running(self) -> bool:
        """False once QEMU is gone."""

    @abstractmethod
    def reset(self) -> float:
        """As the reset button does it: same QEMU, the guest boots again."""

    @abstractmethod
    def save_state(self) -> None:
        """Remembers the running machine, for `load_state`, which is far faster than a boot."""

    @abstractmethod
    def load_state(self) -> None:
        """Goes on as it was at `save_state`, whatever became of it or its QEMU since."""

    @abstractmethod
    def shutdown(self, timeout_s: float = 20) -> None:
        """Presses the power button and waits until the guest has powered off."""

    @abstractmethod
    def kill(self) -> float:
        """SIGKILL to QEMU."""

    def wait_until_up(self, timeout_s: float = BOOT_TIMEOUT_S, boots: int = 1) -> None:
        """Returns when the guest has booted (for the `boots`th time) and started its daemon."""
        deadline = time.monotonic() + timeout_s
        while self.console_text().count("lab: guest is up") < boots:
            last = self.console_text().strip().splitlines()[-1:] or ["(nothing)"]
            if not self.running():
                raise VmError(f"QEMU ended before the guest was up; the console ends: {last[0]}")
            if time.monotonic() > deadline:
                raise VmError(f"no guest after {timeout_s} s; the console ends: {last[0]}")
            time.sleep(_POLL_S)

    def run(self, command: str, timeout_s: float = 10) -> CommandResult:
        """Runs a shell command in the guest. Raises `DoorError`."""
        return self.door.run(command, timeout_s)

    @property
    def door(self) -> LabDoor:
        if self._door is None:
            self._door = LabDoor(self.lab_path)
        return self._door

    def panic(self) -> float:
        """The guest's kernel panics, and hangs."""
        moment = time.monotonic()
        self.door.fire("echo c >/proc/sysrq-trigger")
        return moment

    def signal_daemon(self, name: str) -> float:
        """Sends a signal, `KILL` or `STOP` for example, to the guest daemon."""
        pid = self.run("cat /run/reachthru/daemon.pid").output.strip()
        moment = time.monotonic()
        self.run(f"kill -{name} {pid}")
        return moment

    def start_daemon(self) -> None:
        self.run("/lab/daemon start")

    def stop_daemon(self) -> None:
        """Asks the guest daemon to end; it says goodbye."""
        self.run("/lab/daemon stop")

    def close_door(self) -> None:
        if self._door is not None:
            self._door.close()
        self._door = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
