"""Vitrage's own driver loading, processor and graph in one process, with our datasource.

Runs with .venv-vitrage's Python. A line of standard input is a JSON list of steps, and its answer
a line with the alarms that are active then, each with what it is on.

    ["notify", event]        as it comes from the bus, through the listener's endpoint
    ["turned", event, ...]   all are taken, and then processed in the opposite order
    ["snapshot", action]     get_all, with what it leaves out deleted
"""

import json
import os
import sys
import traceback

from vitrage.common import config
from vitrage.common.constants import VertexProperties as VProps
from vitrage.entity_graph.driver_exec import DriverExec, DriversNotificationEndpoint
from vitrage.entity_graph.processor.processor import Processor
from vitrage.graph.driver.networkx_graph import NXGraph

EVENT_TYPE = "reachthru.fault"


class NoPersistency:
    def store_graph(self):
        pass


class Graph:
    def __init__(self):
        self.graph = NXGraph("Entity Graph")
        self.processor = Processor(self.graph)
        self.listener = DriversNotificationEndpoint(self.process).init()
        self.drivers = DriverExec(self.process, NoPersistency(), self.graph)

    def process(self, events):
        """As Vitrage's, which logs what an event raises and goes on."""
        events = list(events)
        for event in events:
            try:
                self.processor.process_event(event)
            except Exception:
                traceback.print_exc()
                print("PROCESSOR FAILED", file=sys.stderr, flush=True)
        return len(events)

    def do(self, verb, *arguments):
        if verb == "notify":
            self.listener.info({}, "test", EVENT_TYPE, *arguments, {})
        elif verb == "turned":
            taken = []
            listener = DriversNotificationEndpoint(taken.extend).init()
            for event in arguments:
                listener.info({}, "test", EVENT_TYPE, event, {})
            self.process(taken[::-1])
        elif verb == "snapshot":
            self.drivers.get_all("reachthru", *arguments)

    def alarms(self):
        found = self.graph.get_vertices({VProps.VITRAGE_CATEGORY: "ALARM"})
        return [
            alarm.properties | {"on": self.on(alarm)}
            for alarm in found
            if not alarm[VProps.VITRAGE_IS_DELETED]
        ]

    def on(self, alarm):
        return [
            [neighbor[VProps.VITRAGE_TYPE], neighbor[VProps.ID]]
            for neighbor in self.graph.neighbors(alarm.vertex_id)
        ]


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Vitrage logs to standard output
    config.parse_config(["vitrage", "--config-file", sys.argv[1]])
    graph = Graph()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        for step in json.loads(line):
            graph.do(*step)
        print(json.dumps(graph.alarms()), file=answers, flush=True)


if __name__ == "__main__":
    main()
