"""A machine under libvirt, as Nova would have made it, with its port by `<source mode='bind'/>`."""

import os
import signal
import tempfile
import time
from pathlib import Path

import libvirt

from reachthru.demo.door import PORT as LAB_PORT
from reachthru.demo.image import GuestImage
from reachthru.demo.libvirt_daemons import CONNECTION_URI, DOMAIN_TITLE, end, remove
from reachthru.demo.vm import GUEST_AGENT_PORT, KERNEL_ARGUMENTS, SETTINGS_NAME, Vm, VmError

_POLL_S = 0.02

_DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <title>{title}</title>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <cpu mode='maximum'/>
  <sysinfo type='fwcfg'>{settings}</sysinfo>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initramfs}</initrd>
    <cmdline>{arguments}</cmdline>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <serial type='file'><source path='{console}' append='on'/></serial>
    {channels}
    <memballoon model='none'/>
  </devices>
</domain>
"""
_CHANNEL = """
    <channel type='unix'><source mode='bind'/><target type='virtio' name='{port}'/></channel>"""
_CHANNELS_DIR = Path("/var/lib/libvirt/qemu/channel/target")


class LibvirtVm(Vm):
    """A persistent domain, called as Nova would. `folder` gets its console's log.

    `ports` are the names of its channels besides the lab's own, in the domain's order. The
    domain itself is at hand as `domain` for whatever a test wants to do to it.
    """

    def __init__(
        self,
        image: GuestImage,
        folder: Path,
        settings: str | None,
        *,
        ports: tuple[str, ...] = (GUEST_AGENT_PORT, "cgcs.messaging"),
        memory_mib: int = 256,
    ) -> None:
        super().__init__()
        self.name = f"instance-{self.uuid[:8]}"
        self._image = image
        self._console = folder / f"{self.name}.console.log"
        self._state = folder / f"{self.name}.state"
        self._settings = settings
        # Where QEMU, which is not root under libvirt, may read it.
        self._settings_path = Path(tempfile.gettempdir(), f"{self.name}.toml")
        self._ports = ports
        self._memory_mib = memory_mib
        self._connection: libvirt.virConnect | None = None
        self._domain: libvirt.virDomain | None = None

    @property
    def connection(self) -> libvirt.virConnect:
        if self._connection is None:
            raise VmError("the VM has not been started")
        return self._connection

    @property
    def domain(self) -> libvirt.virDomain:
        if self._domain is None:
            raise VmError("the VM has not been started")
        return self._domain

    @property
    def port_path(self) -> Path:
        return self._channel_path("cgcs.messaging")

    @property
    def lab_path(self) -> Path:
        return self._channel_path(LAB_PORT)

    @property
    def pid(self) -> int:
        return int(Path(f"/run/libvirt/qemu/{self.name}.pid").read_text())

    def start(self) -> None:
        if self._domain is None:
            self._connection = libvirt.open(CONNECTION_URI)
            self._domain = self.connection.defineXML(self._xml())
        self.close_door()  # each start has channel sockets of its own
        self._domain.create()

    def running(self) -> bool:
        return bool(self.domain.isActive())

    def console_text(self) -> str:
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def reset(self) -> float:
        moment = time.monotonic()
        self.domain.reset()
        return moment

    def save_state(self) -> None:
        self._state.unlink(missing_ok=True)
        self.domain.save(str(self._state))
        self.load_state()

    def load_state(self) -> None:
        self.close_door()
        end(self.domain)
        self.connection.restore(str(self._state))

    def shutdown(self, timeout_s: float = 20) -> None:
        self.domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        deadline = time.monotonic() + timeout_s
        while self.running():
            if time.monotonic() > deadline:
                raise VmError(f"the guest did not power off within {timeout_s} s")
            time.sleep(_POLL_S)

    def kill(self) -> float:
        moment = time.monotonic()
        os.kill(self.pid, signal.SIGKILL)
        return moment

    def close(self) -> None:
        self.close_door()
        self._settings_path.unlink(missing_ok=True)
        if self._domain is not None:
            remove(self._domain)
            self._domain = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _channel_path(self, port: str) -> Path:
        """Where libvirt puts it by itself. The domain's id is another one at each start."""
        running = self.connection.lookupByUUIDString(self.uuid)
        return _CHANNELS_DIR / f"domain-{running.ID()}-{self.name}" / port

    def _xml(self) -> str:
        entry = ""
        if self._settings is not None:
            self._settings_path.write_text(self._settings)
            self._settings_path.chmod(0o644)
            entry = f"<entry name='{SETTINGS_NAME}' file='{self._settings_path}'/>"
        return _DOMAIN.format(
            name=self.name,
            uuid=self.uuid,
            title=DOMAIN_TITLE,
            memory_mib=self._memory_mib,
            settings=entry,
            kernel=self._image.kernel,
            initramfs=self._image.initramfs,
            arguments=KERNEL_ARGUMENTS,
            console=self._console,
            channels="".join(_CHANNEL.format(port=port) for port in (*self._ports, LAB_PORT)),
        )
