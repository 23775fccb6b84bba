"""One look at libvirt's domains, for an operator who wants to know what is wrong. It blocks."""

from typing import NamedTuple

import libvirt

from reachthru.host_agent.discovery.libvirt.connection import LibvirtUnavailableError
from reachthru.host_agent.discovery.libvirt.domain_xml import DomainFacts, read_domain


class Look(NamedTuple):
    """`version` is libvirt's, e.g. "9.0.0". `domains` are those that run."""

    version: str
    domains: list[DomainFacts]


def look(uri: str) -> Look:
    """Raises `LibvirtUnavailableError`."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # it prints by default
    try:
        connection = libvirt.open(uri)
        try:
            number = connection.getLibVersion()
            version = f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
            running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            return Look(version, [read_domain(domain.XMLDesc()) for domain in running])
        finally:
            connection.close()
    except libvirt.libvirtError as error:
        raise LibvirtUnavailableError(" ".join(str(error).split())) from error
