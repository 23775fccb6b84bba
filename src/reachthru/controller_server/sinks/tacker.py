"""Tacker: the VNF component (VNFC) whose server is sick shall be healed.

Which server is whose component Tacker itself says (GET /vnflcm/v2/vnf_instances): a VNFC's resource
names its server. Then, as [sink_tacker] call says,

    heal    POST /vnflcm/v2/vnf_instances/{vnf}/heal
            {"vnfcInstanceId": [...], "cause": ...}
    notify  POST /server_notification/vnf_instances/{vnf}/servers/{server}/notify
            {"notification": {"alarm_id", "fault_id", "fault_type", "host_id", "fault_option"}}
            for VNFs that Tacker's `ServerNotification` driver has registered at a Server Notifier:
            alarm_id and fault_id are what it wrote down in the VNF then. Tacker gathers several for
            20 s, and heals VNFs whose isAutohealEnabled is true.

A server of no VNF is none of Tacker's business. Neither is a host: Tacker knows none.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct
from oslo_config import cfg

from reachthru.controller_server import keystone_session
from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks import recovery
from reachthru.controller_server.sinks.base import NotNowError, RefusedError
from reachthru.controller_server.sinks.http import Answer, service_options
from reachthru.controller_server.sinks.service import ServiceSink

LISTING = "/vnflcm/v2/vnf_instances"
LISTING_LIMIT_BYTES = 32 * 1024 * 1024
PAGES_LIMIT = 1000
FRESH_S = 2.0  # of a burst of faults one listing tells whose they are
FAULT_TYPE = "10"  # must be there; Tacker's code does not look at it
CAUSE_LENGTH = 255
_VERSION = {"Version": "2.0.0"}
# Another operation of this VNF is on its way.
_CONFLICT = frozenset({409})


class Component(Struct, frozen=True):
    """A VNFC, as far as its healing needs it. Without an alarm: none was registered."""

    vnf_id: str
    vnfc_id: str
    heals_by_itself: bool
    alarm_id: str | None
    fault_id: str | None


class TackerSink(ServiceSink):
    name: ClassVar[str] = "tacker"
    service_type: ClassVar[str] = "nfv-orchestration"
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = keystone_session.options(
        [
            *service_options(),
            *recovery.OPTIONS,
            cfg.StrOpt(
                "call",
                default="heal",
                choices=["heal", "notify"],
                help="heal: asked to heal the VNF instance; notify: Tacker's notification for"
                " its maintenance plugin.",
            ),
        ]
    )
    concurrency = 4

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        section = conf.sink_tacker
        self._corrective_actions = frozenset(section.corrective_actions)
        self._heals = section.call == "heal"
        self._components: Mapping[str, Component] = {}
        self._listed_at = float("-inf")
        self._listing = asyncio.Lock()

    async def deliver(self, fault: Fault) -> None:
        if not fault.instance_uuid or not recovery.is_to_be_repaired(
            fault, self._corrective_actions
        ):
            return
        component = await self._component(fault.instance_uuid)
        if component is None:
            return
        vnf = component.vnf_id
        if self._heals:
            path, body, yes = f"{LISTING}/{vnf}/heal", heal_request(fault, component), 202
        else:
            server = quote(fault.instance_uuid, safe="")
            path = f"/server_notification/vnf_instances/{vnf}/servers/{server}/notify"
            body, yes = notification(fault, component), 204
        answer = await self._service.ask("POST", path, body, _VERSION, patience_for=_CONFLICT)
        if answer.status != yes:
            raise NotNowError(f"{answer.said}: Tacker would say {yes}")

    async def _component(self, server_uuid: str) -> Component | None:
        asked_at = time.monotonic()
        async with self._listing:
            if self._listed_at < asked_at - FRESH_S:
                began_at = time.monotonic()
                self._components = await self._list()
                self._listed_at = began_at
            return self._components.get(server_uuid)

    async def _list(self) -> Mapping[str, Component]:
        found: dict[str, Component] = {}
        query = "?fields=instantiatedVnfInfo,vnfConfigurableProperties"
        for _page in range(PAGES_LIMIT):
            answer = await self._service.ask(
                "GET", LISTING + query, None, _VERSION, limit_bytes=LISTING_LIMIT_BYTES
            )
            for vnf in _vnfs(answer):
                found.update(_components(vnf))
            if answer.next_page is None:
                break
            query = f"?{urlsplit(answer.next_page).query}"
        return found


def heal_request(fault: Fault, component: Component) -> dict[str, Any]:
    """SOL003's HealVnfRequest, with SOL002's components."""
    cause = f"reachthru: {fault.kind}: {fault.detail}"
    return {"vnfcInstanceId": [component.vnfc_id], "cause": cause[:CAUSE_LENGTH]}


def notification(fault: Fault, component: Component) -> dict[str, Any]:
    """Raises `RefusedError` where Tacker would do nothing."""
    vnf = f"VNF {component.vnf_id}"
    if component.alarm_id is None or component.fault_id is None:
        raise RefusedError(
            f"{vnf} has no alarm for server {fault.instance_uuid}: Tacker's ServerNotification"
            " driver registered none; [sink_tacker] call = heal needs none"
        )
    if not component.heals_by_itself:
        raise RefusedError(f"{vnf} has isAutohealEnabled off: Tacker would do nothing")
    return {
        "notification": {
            "host_id": fault.host,
            "alarm_id": component.alarm_id,
            "fault_id": component.fault_id,
            "fault_type": FAULT_TYPE,
            "fault_option": {"kind": fault.kind, "id": fault.id},
        }
    }


class _Alarm(Struct, frozen=True):
    alarmId: str  # noqa: N815


class _ResourceMetadata(Struct, frozen=True):
    server_notification: _Alarm | None = None


class _Handle(Struct, frozen=True):
    resourceId: str = ""  # noqa: N815


class _Resource(Struct, frozen=True):
    id: str
    computeResource: _Handle  # noqa: N815
    metadata: _ResourceMetadata = _ResourceMetadata()


class _Vnfc(Struct, frozen=True):
    id: str
    vnfcResourceInfoId: str = ""  # noqa: N815


class _VnfMetadata(Struct, frozen=True):
    ServerNotifierFaultID: list[str] = []


class _Instantiated(Struct, frozen=True):
    vnfcResourceInfo: list[_Resource] = []  # noqa: N815
    vnfcInfo: list[_Vnfc] = []  # noqa: N815
    metadata: _VnfMetadata = _VnfMetadata()


class _Properties(Struct, frozen=True):
    isAutohealEnabled: bool = False  # noqa: N815


class _Vnf(Struct, frozen=True):
    id: str
    instantiatedVnfInfo: _Instantiated = _Instantiated()  # noqa: N815
    vnfConfigurableProperties: _Properties = _Properties()  # noqa: N815


def _vnfs(answer: Answer) -> list[_Vnf]:
    try:
        return msgspec.json.decode(answer.body, type=list[_Vnf])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotNowError(f"{answer.said}: no list of VNF instances: {error}") from error


def _components(vnf: _Vnf) -> dict[str, Component]:
    """By server."""
    info = vnf.instantiatedVnfInfo
    vnfcs = {vnfc.vnfcResourceInfoId: vnfc.id for vnfc in info.vnfcInfo}
    found = {}
    for resource in info.vnfcResourceInfo:
        if resource.id in vnfcs:
            alarm = resource.metadata.server_notification
            found[resource.computeResource.resourceId] = Component(
                vnf_id=vnf.id,
                vnfc_id=vnfcs[resource.id],
                heals_by_itself=vnf.vnfConfigurableProperties.isAutohealEnabled,
                alarm_id=alarm.alarmId if alarm else None,
                fault_id=next(iter(info.metadata.ServerNotifierFaultID), None),
            )
    return found
