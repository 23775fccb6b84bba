"""Faults into Vitrage: changes as they are told, and snapshots of what is active."""

from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_log import log
from vitrage import keystone_client
from vitrage.common.constants import DatasourceAction, EventProperties
from vitrage.datasources.driver_base import DriverBase

from reachthru.openstack_plugins.vitrage.reachthru import DATASOURCE
from reachthru.openstack_plugins.vitrage.reachthru.fault import GarbledError, fault_of
from reachthru.openstack_plugins.vitrage.reachthru.snapshot import active_faults, first_line

EVENT_TYPE = "reachthru.fault"
FAULT = "reachthru_fault"  # where an event has the fault

CONF = cfg.CONF
LOG = log.getLogger(__name__)


class FaultDriver(DriverBase):  # type: ignore[misc]  # Vitrage has no types
    """Vitrage makes one, and calls it from several threads."""

    def __init__(self) -> None:
        values = Path(CONF.entity_graph.datasources_values_dir) / f"{DATASOURCE}.yaml"
        if not values.is_file():
            LOG.error(
                "%s is missing: no alarm of reachthru has a severity; copy it from the"
                " datasources_values of the package reachthru.openstack_plugins.vitrage",
                values,
            )

    @staticmethod
    def get_event_types() -> list[str]:
        return [EVENT_TYPE]

    @staticmethod
    def should_delete_outdated_entities() -> bool:
        """What a snapshot does not have is over: a clearing was missed."""
        return True

    def get_all(self, datasource_action: str) -> Any:
        """Raises `SnapshotError`: an empty snapshot would end every alarm."""
        settings = CONF[DATASOURCE]
        told = active_faults(
            settings.url,
            settings.timeout,
            _headers(settings),
            verify=settings.ca_file or True,
            cert=_certificate(settings),
        )
        return self.make_pickleable(
            [event for event in map(_event, told) if event], DATASOURCE, datasource_action
        )

    def enrich_event(self, event: Any, _event_type: str) -> Any:
        """`event` is {"time", "type", "details": the fault}; None: it is to be ignored."""
        found = _event(event.get(EventProperties.DETAILS) if isinstance(event, dict) else event)
        if found is None:
            return None
        return self.make_pickleable([found], DATASOURCE, DatasourceAction.UPDATE)[0]


def _event(told: object) -> dict[str, Any] | None:
    try:
        return {FAULT: fault_of(told)}
    except GarbledError as error:
        LOG.warning("a fault that can't be read is ignored: %s", error)
        return None


def _headers(settings: Any) -> dict[str, str]:
    if settings.auth == "token":
        return {"X-Auth-Token": first_line(settings.token_file)}
    if settings.auth == "keystone":
        return {"X-Auth-Token": keystone_client.get_session().get_token()}
    return {}


def _certificate(settings: Any) -> tuple[str, str] | None:
    if not settings.cert_file:
        return None
    return settings.cert_file, settings.key_file or settings.cert_file
