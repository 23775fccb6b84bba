"""What Nova's API knows of our extra specs, through the entry point nova.api.extra_spec_validators.

From microversion 2.86 on it answers 400 to a value that is no boolean, and to a name in the
namespace `ha` that is not one of these. The older names are in a namespace that is not ours: there
Nova checks nothing.
"""

import logging
from typing import Any

from reachthru.openstack_plugins.nova.releases import SUPPORTED
from reachthru.protocol.extra_specs import GUEST_HEARTBEAT, SERVER_GROUP_MESSAGING

_DESCRIPTIONS = {
    GUEST_HEARTBEAT: (
        "Give the instance a virtio-serial port, and heartbeat the guest through it. Only"
        " supported by reachthru's libvirt driver."
    ),
    SERVER_GROUP_MESSAGING: (
        "Give the instance a virtio-serial port, and let it exchange messages and states with the"
        " other members of its server group. Only supported by reachthru's libvirt driver."
    ),
}

_log = logging.getLogger(__name__)


def register() -> list[Any]:
    """Nova's `ExtraSpecValidator` for each, or none where Nova is not what we know: nothing here
    may raise, since nova-api (34) does not survive an entry point that does."""
    try:
        # Not at the top: an import that fails there is an entry point that raises.
        from nova.api.validation.extra_specs import base  # noqa: PLC0415

        return [
            base.ExtraSpecValidator(name=name, description=text, value={"type": bool})
            for name, text in _DESCRIPTIONS.items()
        ]
    except Exception as error:
        _log.error(
            "reachthru: this Nova's extra spec validators are not what we know (%s); the values of"
            " %s go unchecked; %s",
            error,
            " and ".join(_DESCRIPTIONS),
            SUPPORTED,
        )
        return []
