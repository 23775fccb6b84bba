"""Discovery by libvirt: domains, their states and their ports. Only this folder knows libvirt."""

from reachthru.host_agent.discovery.libvirt.driver import LibvirtDiscovery

__all__ = ["LibvirtDiscovery"]
