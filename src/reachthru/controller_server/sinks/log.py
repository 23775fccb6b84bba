"""Faults as lines in the controller's log."""

import logging
from typing import ClassVar

from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks.base import Sink

_log = logging.getLogger("reachthru.faults")


class LogSink(Sink):
    name: ClassVar[str] = "log"

    async def deliver(self, fault: Fault) -> None:
        level = logging.WARNING if fault.status == "raised" else logging.INFO
        _log.log(
            level,
            "fault %s: %s (%s) of instance %s (%s) on %s at %s: %s [%s]",
            fault.status,
            fault.kind,
            fault.severity,
            fault.instance_name,
            fault.instance_uuid,
            fault.host,
            fault.changed_at,
            fault.detail or "no detail",
            fault.id,
        )
