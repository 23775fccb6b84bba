"""What a domain's XML says of its name and of our ports."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from reachthru.host_agent.discovery.base import PORT_DIALECTS, Port

_NOVA_NAMESPACE = "http://openstack.org/xmlns/libvirt/nova/"


@dataclass(slots=True)
class DomainFacts:
    """`name` is Nova's display name where there is one. `wanted`: it has a port of ours.

    `ports` are those whose socket is known, by libvirt's alias: a domain that is shut off has
    none.
    """

    name: str
    wanted: bool = False
    ports: dict[str, Port] = field(default_factory=dict)


def read_domain(text: str) -> DomainFacts:
    """Raises `xml.etree.ElementTree.ParseError`."""
    root = ET.fromstring(text)  # noqa: S314 - written by libvirt, which this agent trusts
    facts = DomainFacts(_nova_name(root) or root.findtext("name") or "")
    for channel in root.iterfind("devices/channel"):
        target = channel.find("target")
        name = target.get("name", "") if target is not None else ""
        if target is None or target.get("type") != "virtio" or name not in PORT_DIALECTS:
            continue
        facts.wanted = True
        source, alias = channel.find("source"), channel.find("alias")
        path = source.get("path") if source is not None else None
        if path and alias is not None and channel.get("type") == "unix":
            opened = {"connected": True, "disconnected": False}.get(target.get("state", ""))
            facts.ports[alias.get("name", "")] = Port(name, path, opened)
    return facts


def _nova_name(root: ET.Element) -> str | None:
    for element in root.iterfind("metadata/{*}instance/{*}name"):
        if element.tag.startswith("{" + _NOVA_NAMESPACE):
            return element.text
    return None
