"""What sinks share whose receivers repair: they stop, start or replace what they are told of.

They are told of what is wrong, and not of its end: they know none. A fault that has a lost host as
its cause is the host's; a guest that never registered is not known to be sick.
"""

from collections.abc import Collection

from oslo_config import cfg, types

from reachthru.controller_server.model import Fault
from reachthru.protocol.faults import FaultKind, FaultStatus

OPTIONS: list[cfg.Opt] = [
    cfg.ListOpt(
        "corrective_actions",
        default=[],
        item_type=types.String(choices=["none", "log", "reboot", "stop", "unknown"]),
        help="Guests are repaired whose corrective_action is one of these; empty: all. It"
        " does not matter where QEMU or the host is gone.",
    ),
    cfg.FloatOpt(
        "reconcile_interval",
        default=0.0,
        min=0.0,
        help="Seconds after which what is active is told again, which may repair it again; 0:"
        " never.",
    ),
]

_NO_GUEST_TO_SPARE = frozenset({FaultKind.INSTANCE_LOST, FaultKind.HOST_LOST})


def is_to_be_repaired(fault: Fault, corrective_actions: Collection[str]) -> bool:
    if fault.status != FaultStatus.RAISED or fault.correlated_to:
        return False
    if fault.kind == FaultKind.NEVER_REGISTERED:
        return False
    return (
        not corrective_actions
        or fault.kind in _NO_GUEST_TO_SPARE
        or (fault.corrective_action or "unknown") in corrective_actions
    )
