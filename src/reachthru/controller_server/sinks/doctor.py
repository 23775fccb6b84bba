"""OPNFV Doctor's southbound event, from a monitor to an inspector, in the shapes that exist.

`specification`: Doctor's requirements, "Detailed southbound interface specification":
    POST {"event": {"time", "type", "details": {"hostname", "source", "cause", "severity", "status",
    "monitor_id", "monitor_event_id"}}}
`sample_inspector`: what doctor_tests/inspector/sample.py reads, and doctor_tests' monitors send:
    PUT [{"id", "time", "type", "details": {"hostname", "status", "monitor", "monitor_event_id"}}]
`vitrage`: what vitrage/api/controllers/v1/event.py reads, for Vitrage's datasource `doctor`:
    POST {"time", "type", "details": {"hostname", "status", "severity", ...}}

What their code does with it decides what is written here (docs/openstack/sinks.md says more):

- The sample inspector marks a host down, with all its servers, at type `compute.host.down` only,
  and whatever the status: that type is for a lost host alone, and its return has another type.
- Vitrage takes `status` up or down only, needs the time's fraction, and knows an alarm by type and
  hostname: there an instance's uuid is in the type, or one's recovery would end another's alarm.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from oslo_config import cfg

from reachthru.controller_server import keystone_session
from reachthru.controller_server.model import Fault, utc
from reachthru.controller_server.sinks.http import service_options
from reachthru.controller_server.sinks.service import ServiceSink
from reachthru.protocol.faults import FaultKind
from reachthru.secret_files import shown_url
from reachthru.service import SettingsError

MONITOR = "reachthru"
HOST_DOWN = "compute.host.down"
HOST_UP = "compute.host.up"

_Object = dict[str, Any]


class Shape(NamedTuple):
    """How an inspector wants to be told. `path` follows its endpoint in Keystone's catalog."""

    method: str
    path: str
    body: Callable[[Fault], object]


class DoctorSink(ServiceSink):
    name: ClassVar[str] = "doctor"
    service_type: ClassVar[str] = "rca"
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = keystone_session.options(
        [
            *service_options(),
            cfg.StrOpt(
                "shape",
                default="specification",
                choices=["specification", "sample_inspector", "vitrage"],
                help="Which of the event's three shapes the inspector reads.",
            ),
            # Where events go, as it is; empty, with an auth_type: Vitrage of Keystone's catalog.
            cfg.StrOpt("url", default="", help="Where events are posted."),
            cfg.FloatOpt(
                "reconcile_interval",
                default=60.0,
                min=0.0,
                help="Seconds after which every active fault is told again, as an inspector"
                " forgets; 0: never.",
            ),
        ]
    )
    concurrency = 8

    @classmethod
    def _check(cls, path: Path, conf: cfg.ConfigOpts) -> None:
        section = conf.sink_doctor
        from_catalog = section.shape == "vitrage" and section.auth_type and not section.url
        if not from_catalog and urlsplit(section.url).scheme not in ("http", "https"):
            raise SettingsError(
                f"{path}: [sink_doctor] url = {shown_url(section.url)}: must be http://... or "
                "https://..., since [sinks] enabled has doctor"
            )
        if section.auth_type:
            super()._check(path, conf)
        if section.url:
            conf.set_override("endpoint_override", section.url, group="sink_doctor")

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        section = conf.sink_doctor
        self._shape = SHAPES[section.shape]
        self._path = "" if section.url else self._shape.path

    async def deliver(self, fault: Fault) -> None:
        answer = await self._service.ask(self._shape.method, self._path, self._shape.body(fault))
        answer.insist_on_no_error_inside()


def specification(fault: Fault) -> _Object:
    return {"event": _event(fault, _type(fault), _details(fault))}


def sample_inspector(fault: Fault) -> list[_Object]:
    type_ = _type(fault)
    if type_ == HOST_DOWN and fault.status == "cleared":
        type_ = HOST_UP
    details = _details(fault) | {"monitor": MONITOR}
    return [{"id": fault.id, **_event(fault, type_, details)}]


def vitrage(fault: Fault) -> _Object:
    type_ = _type(fault)
    if fault.instance_uuid:
        type_ = f"{type_}.{fault.instance_uuid}"
    details = _details(fault)
    details.pop("related_to", None)  # properties of a vertex have one value
    return _event(fault, type_, details)


SHAPES = {
    "specification": Shape("POST", "", specification),
    "sample_inspector": Shape("PUT", "", sample_inspector),
    "vitrage": Shape("POST", "/v1/event", vitrage),
}


def _type(fault: Fault) -> str:
    return HOST_DOWN if fault.kind == FaultKind.HOST_LOST else f"compute.instance.{fault.kind}"


def _event(fault: Fault, type_: str, details: _Object) -> _Object:
    """The time in UTC without saying so, as in all of Doctor's."""
    moment = utc(fault.changed_at) or datetime.now(UTC)
    time = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    return {"time": time, "type": type_, "details": details}


def _details(fault: Fault) -> _Object:
    details: _Object = {
        "hostname": fault.host,
        "source": MONITOR,
        "cause": fault.kind,
        "severity": fault.severity,
        "status": "down" if fault.status == "raised" else "up",
        "monitor_id": MONITOR,
        "monitor_event_id": fault.id,
        "detail": fault.detail,
    }
    if fault.instance_uuid:
        details |= {"instance_uuid": fault.instance_uuid, "instance_name": fault.instance_name}
    related = [fault.correlated_to] if fault.correlated_to else fault.instances
    if related:
        details["related_to"] = related
    return details
