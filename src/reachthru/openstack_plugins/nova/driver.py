"""Nova's libvirt driver, which also adds our port to the instances whose flavor asks for it.

All that Nova makes a domain's XML for goes through one method: the first boot, a hard reboot, a
rebuild, a resize, an evacuation. A live migration takes the XML that the domain has. nova-compute
loads this as `compute_driver = reachthru.LibvirtDriver`, from the reachthru-nova-compute wheel.
"""

from typing import Any

from nova.virt.libvirt import config, driver

from reachthru.openstack_plugins.nova import releases
from reachthru.protocol.extra_specs import asks_for_port

PORT = "cgcs.messaging"
_WITH_VIRTIO_SERIAL = ("kvm", "qemu")

releases.check_driver(driver.LibvirtDriver)


class LibvirtDriver(driver.LibvirtDriver):  # type: ignore[misc]  # Nova has no types
    """Nova's own in all else."""

    def _get_guest_config(self, instance: Any, *args: Any, **more: Any) -> Any:
        guest = super()._get_guest_config(instance, *args, **more)
        if guest.virt_type in _WITH_VIRTIO_SERIAL and asks_for_port(instance.flavor.extra_specs):
            guest.add_device(_channel(instance.name))  # the last: others look at the first only
        return guest


def _channel(instance_name: str) -> Any:
    """The socket's path is the same on every host, as that of the QEMU guest agent's port: a live
    migration takes it along unchanged."""
    channel = config.LibvirtConfigGuestChannel()
    channel.type = "unix"
    channel.target_name = PORT
    channel.source_path = f"/var/lib/libvirt/qemu/{PORT}.{instance_name}.sock"
    return channel
