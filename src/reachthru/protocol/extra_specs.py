"""Flavor extra specs that turn us on for an instance (wire contract, section 7)."""

from collections.abc import Mapping

GUEST_HEARTBEAT = "ha:guest_heartbeat"
SERVER_GROUP_MESSAGING = "ha:server_group_messaging"
# What clouds before us called them.
_OLDER_NAMES = {
    GUEST_HEARTBEAT: "sw:wrs:guest:heartbeat",
    SERVER_GROUP_MESSAGING: "sw:wrs:srv_grp_messaging",
}
# Nova's own words (oslo.utils, `bool_from_string`), in any case.
_YES = frozenset({"1", "t", "true", "on", "y", "yes"})
_NO = frozenset({"0", "f", "false", "off", "n", "no"})


def deciding(extra_specs: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """The extra spec, (name, value), that says whether `name` is on: its older name counts where
    it is missing. None where both are."""
    for known in (name, _OLDER_NAMES[name]):
        if known in extra_specs:
            return known, extra_specs[known]
    return None


def boolean(value: str) -> bool | None:
    """None if it is none, which counts as off."""
    word = value.strip().lower()
    return True if word in _YES else False if word in _NO else None


def asks_for_port(extra_specs: Mapping[str, str]) -> bool:
    """Whether a flavor's extra specs turn on anything that needs the port."""
    found = (deciding(extra_specs, name) for name in _OLDER_NAMES)
    return any(spec is not None and boolean(spec[1]) for spec in found)
