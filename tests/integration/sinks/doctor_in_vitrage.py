"""Vitrage's own Doctor datasource: the alarms that it has after some posts to its event API.

    .venv-vitrage/bin/python doctor_in_vitrage.py < bodies.json

Standard input is a JSON list of bodies of POST /v1/event. Prints a JSON list of the alarms that are
left, each {"name", "severity", "on"}.
"""

import json
import sys
import traceback

from vitrage.api_handler.apis import event as event_api
from vitrage.common.constants import VertexProperties
from vitrage.datasources.doctor.driver import DoctorDriver
from vitrage.datasources.doctor.transformer import DoctorTransformer


class Bus:
    """In the place of oslo.messaging's: what the event API sends is what the driver gets."""

    def __init__(self):
        self.events = []

    def info(self, ctxt, event_type, payload):
        del ctxt
        self.events.append((event_type, payload))


class Graph:
    """Of its alarms only."""

    def __init__(self):
        self._driver, self._transformer = DoctorDriver(), DoctorTransformer({})
        self.alarms = {}

    def take(self, event_type, payload):
        if event_type not in self._driver.get_event_types():
            return
        event = self._driver.enrich_event(payload, event_type)
        if event is None:
            return
        key = self._transformer._create_entity_key(event)
        if self._transformer._ok_status(event):
            self.alarms.pop(key, None)
            return
        vertex = self._transformer._create_update_entity_vertex(event)
        self.alarms[key] = {
            "name": vertex[VertexProperties.NAME],
            "severity": vertex["severity"],
            "on": event["details"]["hostname"],
        }


def main():
    api = event_api.EventApis.__new__(event_api.EventApis)
    api.publisher, api.oslo_notifier = "api", Bus()
    graph = Graph()
    for body in json.load(sys.stdin):
        api.post(None, body["time"], body["type"], body["details"])
        try:
            graph.take(*api.oslo_notifier.events.pop())
        except Exception:  # as EventsCoordination does
            traceback.print_exc()
    print(json.dumps(list(graph.alarms.values())))


main()
