"""`compute_driver = reachthru.LibvirtDriver`: Nova looks for drivers in nova.virt only."""

from reachthru.openstack_plugins.nova.driver import LibvirtDriver

__all__ = ["LibvirtDriver"]
