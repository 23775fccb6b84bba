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
from pathlib import Path
from typing import Any, ClassVar, Self

from oslo_config import cfg

from reachthru.certificates import CertificateError
from reachthru.controller_server import keystone_session
from reachthru.controller_server.model import Fault, utc
from reachthru.controller_server.sinks import recovery
from reachthru.controller_server.sinks.base import NotNowError, Sink
from reachthru.controller_server.sinks.http import NOT_ALLOWED, ServiceClient, service_options
from reachthru.protocol.faults import FaultKind
from reachthru.service import SettingsError

SERVICE_TYPE = "instance-ha"
# Its API pauses up to 5 s before each answer, unless it has a coordination backend
# ([DEFAULT] notification_delay_max).
TIMEOUT_S = 15.0


class MasakariSink(Sink):
    """Raises `CertificateError`."""

    name: ClassVar[str] = "masakari"
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = keystone_session.options(
        [
            *service_options(TIMEOUT_S),
            *recovery.OPTIONS,
            # What is said of a lost host. NORMAL where something fences hosts, and only there.
            cfg.StrOpt("host_status", default="UNKNOWN", choices=["UNKNOWN", "NORMAL"]),
        ]
    )
    concurrency = 4

    @classmethod
    def configured(cls, path: Path, conf: cfg.ConfigOpts) -> Self:
        keystone_session.check(
            path,
            conf,
            "sink_masakari",
            because="since [sinks] enabled has masakari",
            timeout_s=TIMEOUT_S,
        )
        try:
            return cls(conf)
        except CertificateError as error:
            raise SettingsError(f"{path}: [sink_masakari] {error}") from error

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        section = conf.sink_masakari
        self._corrective_actions = frozenset(section.corrective_actions)
        self._host_status: str = section.host_status
        self._masakari = ServiceClient(conf, "sink_masakari", SERVICE_TYPE)
        self.timeout_s = self._masakari.timeout_s
        self.reconcile_s = section.reconcile_interval or None

    async def __aenter__(self) -> Self:
        await self._masakari.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._masakari.__aexit__(*error)

    async def deliver(self, fault: Fault) -> None:
        if not recovery.is_to_be_repaired(fault, self._corrective_actions):
            return
        body = notification(fault, self._host_status)
        answer = await self._masakari.send("POST", "/notifications", body)
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
