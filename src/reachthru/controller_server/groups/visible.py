"""What a guest may know of its group's members: the contract's keys, and not where they run."""

import hashlib
from typing import Any

from reachthru.controller_server.groups.base import Member
from reachthru.protocol.server_group import STATUS_KEYS, fit_status

_HOST_KEYS = ("host", "node")
_ANY_SEQ = 2**32 - 1


def hidden_host(project_id: str, host: str) -> str:
    """As Nova's `hostId`: two members on one host can tell that, and nobody learns which."""
    return hashlib.sha224((project_id + host).encode()).hexdigest()


def visible_status(member: Member, *, show_hosts: bool, stale: bool) -> dict[str, Any]:
    """The status object as it goes to agents: one that a guest can read whole.

    A status may hold what its owner put into Nova, 65 KB of metadata for example.
    """
    status = {key: value for key, value in member.status.items() if key in STATUS_KEYS}
    status.setdefault("instance_id", member.uuid)
    status.setdefault("display_name", member.name)
    status["state"] = member.state
    if not show_hosts:
        for key in _HOST_KEYS:
            if status.get(key):
                status[key] = hidden_host(member.project_id, str(status[key]))
    if stale:
        status["stale"] = True
    return fit_status(_ANY_SEQ, status).data
