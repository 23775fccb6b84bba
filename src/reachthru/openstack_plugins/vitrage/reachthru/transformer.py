"""Faults as alarms of Vitrage's graph: on `nova.instance`, or `nova.host` where a host is lost."""

from collections import OrderedDict
from typing import Any

from vitrage.common.constants import (
    DatasourceProperties,
    EdgeLabel,
    EntityCategory,
    GraphAction,
    VertexProperties,
)
from vitrage.datasources.alarm_transformer_base import AlarmTransformerBase
from vitrage.datasources.nova.host import NOVA_HOST_DATASOURCE
from vitrage.datasources.nova.instance import NOVA_INSTANCE_DATASOURCE
from vitrage.datasources.transformer_base import build_key
from vitrage.graph import utils as graph_utils

from reachthru.openstack_plugins.vitrage.reachthru import DATASOURCE
from reachthru.openstack_plugins.vitrage.reachthru.driver import FAULT

OVER_LIMIT = 10_000  # faults


class FaultTransformer(AlarmTransformerBase):  # type: ignore[misc]  # Vitrage has no types
    """Vitrage takes events in several threads and may turn a raise and its clearing round, or
    process a snapshot's fault after its clearing. Here they come one by one, in the order in which
    they go into the graph: whatever comes of a fault after its clearing is a clearing, too.
    """

    def __init__(self, transformers: Any) -> None:
        super().__init__(transformers)
        self._over: OrderedDict[str, None] = OrderedDict()  # ids, the latest last

    def get_vitrage_type(self) -> str:
        return DATASOURCE

    def _create_entity_key(self, entity_event: Any) -> str:
        """One alarm a fault: those of two instances of one host differ, and so do an instance's
        of two hosts, one of which may have died with its fault."""
        fault = entity_event[FAULT]
        key: str = build_key(
            (EntityCategory.ALARM, DATASOURCE, fault["kind"], _resource_of(fault)[1], fault["id"])
        )
        return key

    def _create_snapshot_entity_vertex(self, entity_event: Any) -> Any:
        return self._vertex(entity_event)

    def _create_update_entity_vertex(self, entity_event: Any) -> Any:
        return self._vertex(entity_event)

    def _create_snapshot_neighbors(self, entity_event: Any) -> list[Any]:
        return self._neighbors(entity_event)

    def _create_update_neighbors(self, entity_event: Any) -> list[Any]:
        return self._neighbors(entity_event)

    def _ok_status(self, entity_event: Any) -> bool:
        return bool(entity_event[FAULT]["status"] == "cleared")

    def _extract_graph_action(self, entity_event: Any) -> Any:
        fault_id = entity_event[FAULT]["id"]
        if self._ok_status(entity_event):
            self._over[fault_id] = None
            if len(self._over) > OVER_LIMIT:
                self._over.popitem(last=False)
        elif fault_id in self._over:
            return GraphAction.DELETE_ENTITY
        return super()._extract_graph_action(entity_event)

    def _vertex(self, entity_event: Any) -> Any:
        fault = entity_event[FAULT]
        _type, resource = _resource_of(fault)
        return graph_utils.create_vertex(
            self._create_entity_key(entity_event),
            vitrage_category=EntityCategory.ALARM,
            vitrage_type=DATASOURCE,
            vitrage_sample_timestamp=entity_event[DatasourceProperties.SAMPLE_DATE],
            entity_id=fault["id"],
            entity_state=self._get_alarm_state(entity_event),
            update_timestamp=fault["changed_at"],
            metadata={
                VertexProperties.NAME: fault["kind"],
                VertexProperties.SEVERITY: fault["severity"],
                VertexProperties.RAWTEXT: fault["detail"],
                VertexProperties.RESOURCE_ID: resource,
                VertexProperties.RESOURCE_NAME: fault["instance_name"] or fault["host"],
                "host": fault["host"],
                "raised_at": fault["raised_at"],
                "corrective_action": fault["corrective_action"],
                "correlated_to": fault["correlated_to"],
            },
        )

    def _neighbors(self, entity_event: Any) -> list[Any]:
        vitrage_type, resource = _resource_of(entity_event[FAULT])
        return [self._create_neighbor(entity_event, resource, vitrage_type, EdgeLabel.ON)]


def _resource_of(fault: dict[str, str]) -> tuple[str, str]:
    """Of what a fault is: Vitrage's type, and id."""
    if fault["instance_uuid"]:
        return NOVA_INSTANCE_DATASOURCE, fault["instance_uuid"]
    return NOVA_HOST_DATASOURCE, fault["host"]
