"""Flavor extra specs that turn us on for an instance (wire contract, section 7)."""

from collections.abc import Mapping

GUEST_HEARTBEAT = "ha:guest_heartbeat"
SERVER_GROUP_MESSAGING = "ha:server_group_messaging"
# What clouds before us called them.
_OLDER_NAMES = {
    GUEST_HEARTBEAT: "sw:wrs:guest:heartbeat",
    SERVER_GROUP_MESSAGING: "sw:wrs:srv_grp_messaging",
}
# Nova's own words for yes (oslo.utils, `bool_from_string`), in any case; all else is no.
_YES = frozenset({"1", "t", "true", "on", "y", "yes"})


def asks(extra_specs: Mapping[str, str], name: str) -> bool:
    """Whether a flavor's extra specs turn on `name`. Its older name counts where it is missing."""
    value = extra_specs.get(name, extra_specs.get(_OLDER_NAMES[name], ""))
    return str(value).strip().lower() in _YES


def asks_for_port(extra_specs: Mapping[str, str]) -> bool:
    """Whether they turn on anything that needs the port."""
    return any(asks(extra_specs, name) for name in _OLDER_NAMES)
