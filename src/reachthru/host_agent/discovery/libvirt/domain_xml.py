"""What a domain's XML says: its name, our ports, and what its flavor asks for.

Nova writes a flavor's extra specs into the domain's metadata since 32.0.0 (2025.2), an empty
`<nova:extraSpecs/>` where it has none. Where there is no such element (older clouds, plain
libvirt), whoever gave the domain a port of ours asked for all that it can carry.
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from reachthru.host_agent.discovery.base import (
    MUX_PORT,
    NO_SERVICE,
    PORT_DIALECTS,
    PORT_SERVICES,
    Port,
    Service,
)

NOVA_NAMESPACE = "http://openstack.org/xmlns/libvirt/nova/"
# Flavor extra specs (wire contract, section 7), the name that decides first.
_EXTRA_SPECS = {
    Service.HEARTBEAT: ("ha:guest_heartbeat", "sw:wrs:guest:heartbeat"),
    Service.MESSAGES: ("ha:server_group_messaging", "sw:wrs:srv_grp_messaging"),
}
# As Nova itself reads a boolean extra spec (oslo.utils strutils.bool_from_string).
_TRUE = ("1", "t", "true", "on", "y", "yes")
_FALSE = ("0", "f", "false", "off", "n", "no")


@dataclass(slots=True)
class DomainFacts:
    """`name` is Nova's display name where there is one. `services` are what it is served with.

    `ports` are those that serve it and whose socket is known, by libvirt's alias: a domain that
    is shut off has none. `lacks_port`: it asks for more than its ports can carry.
    `has_controller`: a port can be plugged in. `wrong_specs`: "name = value" of extra specs of
    ours whose value is no boolean; they ask for nothing.
    """

    name: str
    services: Service = NO_SERVICE
    ports: dict[str, Port] = field(default_factory=dict)
    lacks_port: bool = False
    has_controller: bool = False
    wrong_specs: list[str] = field(default_factory=list)


def read_domain(text: str) -> DomainFacts:
    """Raises `xml.etree.ElementTree.ParseError`."""
    root = ET.fromstring(text)  # noqa: S314 - written by libvirt, which this agent trusts
    nova = _nova_instance(root)
    name = None if nova is None else nova.findtext("{*}name")
    facts = DomainFacts(name or root.findtext("name") or "")
    facts.has_controller = root.find("devices/controller[@type='virtio-serial']") is not None
    channels = {
        target.get("name", ""): channel
        for channel in root.iterfind("devices/channel")
        if (target := channel.find("target")) is not None
        and target.get("type") == "virtio"
        and target.get("name") in PORT_DIALECTS
    }
    offered = NO_SERVICE
    for port_name in channels:
        offered |= PORT_SERVICES[port_name]
    specs = None if nova is None else nova.find("{*}flavor/{*}extraSpecs")
    facts.services = offered if specs is None else _asked(specs, facts.wrong_specs)
    facts.lacks_port = facts.services not in offered
    for port_name, channel in channels.items():
        if facts.services & PORT_SERVICES[port_name]:
            _read_port(port_name, channel, facts.ports)
    return facts


def _nova_instance(root: ET.Element) -> ET.Element | None:
    for element in root.iterfind("metadata/{*}instance"):
        if element.tag.startswith("{" + NOVA_NAMESPACE):
            return element
    return None


def _asked(specs: ET.Element, wrong: list[str]) -> Service:
    values = {spec.get("name", ""): (spec.text or "").strip() for spec in specs}
    asked = NO_SERVICE
    for service, names in _EXTRA_SPECS.items():
        name = next((name for name in names if name in values), None)
        if name is None:
            continue
        if values[name].lower() in _TRUE:
            asked |= service
        elif values[name].lower() not in _FALSE:
            wrong.append(f"{name} = {values[name]}")
    return asked


def _read_port(name: str, channel: ET.Element, ports: dict[str, Port]) -> None:
    target, source, alias = (channel.find(tag) for tag in ("target", "source", "alias"))
    path = source.get("path") if source is not None else None
    if path and target is not None and alias is not None and channel.get("type") == "unix":
        opened = {"connected": True, "disconnected": False}.get(target.get("state", ""))
        ports[alias.get("name", "")] = Port(name, path, opened)


def channel_xml(domain_name: str) -> str:
    """The channel that a domain is given while it runs: the same as Nova's, had it booted with it.

    Its path holds nothing of this host or this boot (as that of Nova's own channel for the QEMU
    guest agent): a live migration takes it along as it is.
    """
    channel = ET.Element("channel", type="unix")
    path = f"/var/lib/libvirt/qemu/{MUX_PORT}.{domain_name}.sock"
    ET.SubElement(channel, "source", mode="bind", path=path)
    ET.SubElement(channel, "target", type="virtio", name=MUX_PORT)
    return ET.tostring(channel, encoding="unicode")
