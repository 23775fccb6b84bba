"""Nova's own code as one process, with our driver on this machine's own libvirt and QEMU.

    .venv-nova/bin/python nova_on_libvirt.py KERNEL INITRAMFS INSTANCES_FOLDER ARGUMENTS

As compute_cloud.py, with one compute host; Neutron and Cinder are Nova's fakes, and so is Glance,
which has an image that boots KERNEL and INITRAMFS with the kernel's ARGUMENTS. libvirt-python must
be importable.
"""

import compute_cloud  # tests/integration/nova_plugins

# isort: split
import io
import sys
from pathlib import Path

import fixtures
import nova.privsep
from nova import context
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import integrated_helpers

HOST = "compute-0"
# Here they are what is tested.
for poison in ("PoisonFunctions", "GenericPoisonFixture", "SysFsPoisonFixture"):
    setattr(nova_fixtures, poison, fixtures.Fixture)
nova_fixtures.ImportModulePoisonFixture = lambda _names: fixtures.Fixture()


class Cloud(integrated_helpers._IntegratedTestBase):
    CAST_AS_CALL = False

    def setUp(self):
        self.flags(api_paste_config=f"{sys.prefix}/etc/nova/api-paste.ini", group="wsgi")
        super().setUp()
        compute_cloud.nova_server.let_threads_rest()

    def _setup_compute_service(self):
        nova.privsep.sys_admin_pctxt.set_client_mode(False)  # we are root
        self.flags(
            compute_driver="reachthru.LibvirtDriver",
            instances_path=sys.argv[3],
            force_raw_images=False,
            use_cow_images=False,
        )
        self.flags(virt_type="qemu", cpu_mode="none", images_type="raw", group="libvirt")
        self.flags(enabled=False, group="vnc")
        # Other tests' domains may be there; Nova leaves alone what it does not know.
        check = "nova.compute.manager.ComputeManager._sanity_check_new_host"
        self.useFixture(fixtures.MonkeyPatch(check, lambda _self: None))
        return self.start_service("compute", host=HOST)

    def image(self):
        """As `openstack image create` would make the three: kernel, initramfs, and a disk."""
        kernel = self._upload("aki", Path(sys.argv[1]).read_bytes())
        initramfs = self._upload("ari", Path(sys.argv[2]).read_bytes())
        return self._upload(
            "raw",
            bytes(1 << 20),
            kernel_id=kernel,
            ramdisk_id=initramfs,
            os_command_line=sys.argv[4],
            hw_rng_model="virtio",
        )

    def _upload(self, disk_format, content, **properties):
        image = dict(self.glance.auto_disk_config_enabled_image)
        image.pop("id")
        image |= {"disk_format": disk_format, "properties": properties, "size": len(content)}
        image["container_format"] = "bare" if disk_format == "raw" else disk_format
        return self.glance.create(context.get_admin_context(), image, io.BytesIO(content))["id"]

    def xml(self, uuid):
        connection = self.compute.driver._host.get_connection()
        return {HOST: connection.lookupByUUIDString(uuid).XMLDesc(0)}


if __name__ == "__main__":
    compute_cloud.hold_open(Cloud, lambda case: {"image": case.image(), "agent_image": None})
