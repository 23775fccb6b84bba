"""Masakari's POST /v1/notifications: instances and hosts that it shall bring back.

Its engine acts on these events only (masakari/engine/instance_events.py, manager.py), and so only
they are sent:

    VM            QEMU_GUEST_AGENT_ERROR, STOPPED_FAILED     the guest is sick
    VM            LIFECYCLE, STOPPED_FAILED                  QEMU is gone
    COMPUTE_HOST  STOPPED, host_status NORMAL                the host is lost, and certainly off

With host_status UNKNOWN it notes a lost host and evacuates nobody. That is the default: an agent
that is not heard proves no host dead, and an instance that runs twice destroys its disk.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from oslo_config import cfg

from reachthru.controller_server import keystone_session
from reachthru.controller_server.model import Fault, utc
from reachthru.controller_server.sinks import recovery
from reachthru.controller_server.sinks.base import NotNowError
from reachthru.controller_server.sinks.http import NOT_ALLOWED, service_options
from reachthru.controller_server.sinks.service import ServiceSink
from reachthru.protocol.faults import FaultKind

# Its API pauses up to 5 s before each answer, unless it has a coordination backend
# ([DEFAULT] notification_delay_max).
TIMEOUT_S = 15.0


class MasakariSink(ServiceSink):
    name: ClassVar[str] = "masakari"
    service_type: ClassVar[str] = "instance-ha"
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = keystone_session.options(
        [
            *service_options(TIMEOUT_S),
            *recovery.OPTIONS,
            cfg.StrOpt(
                "host_status",
                default="UNKNOWN",
                choices=["UNKNOWN", "NORMAL"],
                help="What is said of a lost host. NORMAL where something fences hosts, and"
                " only there.",
            ),
        ]
    )
    concurrency = 4

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        section = conf.sink_masakari
        self._corrective_actions = frozenset(section.corrective_actions)
        self._host_status: str = section.host_status

    async def deliver(self, fault: Fault) -> None:
        if not recovery.is_to_be_repaired(fault, self._corrective_actions):
            return
        body = notification(fault, self._host_status)
        answer = await self._service.send("POST", "/notifications", body)
        # It has it already. Its other 409 is no less final: the host is under maintenance.
        if answer.status == 409 and b"duplicate" in answer.body:
            return
        answer.insist_on_yes(NOT_ALLOWED)
        found = answer.json()
        if not isinstance(found, dict) or "notification" not in found:
            raise NotNowError(f"{answer.said}: no notification was made")


def notification(fault: Fault, host_status: str) -> dict[str, Any]:
    """The request's body."""
    moment = utc(fault.raised_at) or datetime.now(UTC)
    if fault.kind == FaultKind.HOST_LOST:
        type_ = "COMPUTE_HOST"
        payload = {"event": "STOPPED", "cluster_status": "OFFLINE", "host_status": host_status}
    else:
        type_ = "VM"
        is_gone = fault.kind == FaultKind.INSTANCE_LOST
        payload = {
            "event": "LIFECYCLE" if is_gone else "QEMU_GUEST_AGENT_ERROR",
            "instance_uuid": fault.instance_uuid,
            "vir_domain_event": "STOPPED_FAILED",
        }
    return {
        "notification": {
            "type": type_,
            "hostname": fault.host,
            "generated_time": moment.replace(tzinfo=None).isoformat(timespec="microseconds"),
            "payload": payload,
        }
    }
