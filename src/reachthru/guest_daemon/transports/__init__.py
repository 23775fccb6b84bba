"""Kinds of ports: one base, one file a kind."""

from reachthru.guest_daemon.port_address import PortAddress
from reachthru.guest_daemon.transports.base import Transport


def make_transport(port: PortAddress) -> Transport:
    """The port that the settings name, not opened yet. Raises `TransportUnavailableError`."""
    match port.scheme:
        case "serial":
            from reachthru.guest_daemon.transports.serial import SerialTransport

            return SerialTransport(port.path, port.baudrate)
        case "unix":
            from reachthru.guest_daemon.transports.unix import UnixTransport

            return UnixTransport(port.path)
    from reachthru.guest_daemon.transports.virtio import VirtioTransport

    return VirtioTransport(port.path)
