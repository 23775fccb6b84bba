"""Faults as lines in the controller's log."""

import logging
from pathlib import Path
from typing import ClassVar, Self

from oslo_config import cfg

from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks.base import Sink
from reachthru.telemetry.logs import about

_log = logging.getLogger("reachthru.faults")


class LogSink(Sink):
    name: ClassVar[str] = "log"

    @classmethod
    def configured(cls, _path: Path, _conf: cfg.ConfigOpts) -> Self:
        return cls()

    async def deliver(self, fault: Fault) -> None:
        level = logging.WARNING if fault.status == "raised" else logging.INFO
        _log.log(
            level,
            "fault %s: %s (%s) of %s at %s: %s [%s%s]",
            fault.status,
            fault.kind,
            fault.severity,
            _subject(fault),
            fault.changed_at,
            fault.detail or "no detail",
            fault.id,
            f", under {fault.correlated_to}" if fault.correlated_to else "",
            extra=about(fault.id),
        )


def _subject(fault: Fault) -> str:
    if not fault.instance_uuid:
        return f"host {fault.host}"
    return f"instance {fault.instance_name} ({fault.instance_uuid}) on {fault.host}"
