"""reachthru: tells a cloud, within a second, that a virtual machine is sick inside."""

__version__ = "0.1.0"
