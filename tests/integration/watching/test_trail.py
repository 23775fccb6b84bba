"""One fault's way: by one id in both daemons' logs, and as one trace at a collector."""

import itertools
import json
import uuid

import pytest

from lab.watched import attributes, until

pytestmark = pytest.mark.xdist_group("watching")


def said(records):
    return [record["message"] for record in records]


@pytest.fixture
def hung(watched, sick):
    """The id of a fault that was raised and cleared, once everybody has written about it."""
    fault_id = sick[1]["id"]

    def is_over():
        delivered = [text for text in said(watched.records("controller", fault_id))
                     if "cleared: sink webhook: attempt 1: delivered" in text]  # fmt: skip
        acknowledged = [text for text in said(watched.records("host", fault_id))
                        if "cleared: acknowledged" in text]  # fmt: skip
        return delivered and acknowledged

    until(is_over)
    return fault_id


def test_one_id_leads_through_both_daemons_logs(watched, hung):
    for status in ("raised", "cleared"):
        way = [text for text in said(watched.records("host", hung)) if status in text]
        assert way[0].startswith(f"{watched.guests[1]} ")
        assert f"heartbeat_lost {status}" in way[0]
        assert way[0].endswith(f"[fault {hung}]")
        stages = ("in the outbox", "sent", "acknowledged by a controller")
        assert way[1:] == [f"fault {hung}: {status}: {stage}" for stage in stages]
        way = [text for text in said(watched.records("controller", hung)) if status in text]
        for stage in (
            "received from host compute-w",
            "stored",
            "sink log: attempt 1: delivered",
            "sink webhook: attempt 1: delivered",
        ):
            assert f"fault {hung}: {status}: {stage}" in way
        assert any(text.startswith(f"fault {status}: heartbeat_lost") for text in way)


def test_every_line_of_it_has_the_id_as_a_field(watched, hung):
    for name in ("host", "controller"):
        records = watched.records(name, hung)
        assert len(records) >= 8
        assert {record["extra"]["fault_id"] for record in records} == {hung}
        assert {record["levelname"] for record in records} == {"WARNING", "INFO", "DEBUG"}


def test_every_line_is_an_object_whatever_a_guest_said(watched, sick):
    for name in ("host", "controller"):
        text = watched.log(name)
        assert "\x1b" not in text
        for line in text.splitlines():
            assert json.loads(line)["levelname"]
    (raised, *_) = watched.records("host", sick[0]["id"])
    assert "a guest's own words: " in raised["message"]
    assert "\n" not in raised["message"]


def spans_of(watched, fault_id):
    """(service, span) of a fault's trace, in the order of their beginnings."""
    trace_id = uuid.UUID(fault_id).bytes
    found = {span.span_id: (service, span) for service, span in watched.collector.spans()
             if span.trace_id == trace_id}  # fmt: skip
    return sorted(found.values(), key=lambda item: item[1].start_time_unix_nano)


def test_one_trace_shows_the_whole_way(watched, hung):
    names = ["heartbeat_lost {}", "outbox", "send faults", "process faults", "deliver webhook",
             "deliver log"]  # fmt: skip
    found = until(lambda: len(spans := spans_of(watched, hung)) == 2 * len(names) and spans)
    changes = {}
    for service, span in found:
        told = attributes(span)
        assert told["reachthru.fault.id"] == hung
        assert told["reachthru.fault.kind"] == "heartbeat_lost"
        assert told["reachthru.instance.uuid"] == watched.guests[1]
        assert told["reachthru.host"] == "compute-w"
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        changes.setdefault(told["reachthru.fault.status"], {})[span.name] = (service, span)
    raised = changes["raised"]["heartbeat_lost raised"][1]
    cleared = changes["cleared"]["heartbeat_lost cleared"][1]
    assert raised.parent_span_id == b""
    assert cleared.parent_span_id == raised.span_id
    for status, above in (("raised", raised), ("cleared", cleared)):
        stages = changes[status]
        assert set(stages) == {name.format(status) for name in names}
        for name in names[1:]:
            service, span = stages[name]
            assert span.parent_span_id == above.span_id
            of_agent = name in ("outbox", "send faults")
            assert service == ("reachthru-host" if of_agent else "reachthru-controller")
        begun = [stages[name][1].start_time_unix_nano for name in names[1:5]]
        for earlier, later in itertools.pairwise(begun):
            assert earlier <= later
    sent, processed = changes["raised"]["send faults"][1], changes["raised"]["process faults"][1]
    assert attributes(sent)["messaging.system"] == "mqtt"
    assert attributes(sent)["messaging.operation.type"] == "send"
    assert attributes(processed)["db.system.name"] == "sqlite"
    assert (sent.kind, processed.kind) == (sent.SPAN_KIND_PRODUCER, sent.SPAN_KIND_CONSUMER)


def test_a_trace_reaches_from_the_missed_answer_to_its_detection(watched, hung):
    root = until(lambda: [s for _n, s in spans_of(watched, hung) if s.name.endswith(" raised")])[0]
    (fault,) = (one for one in watched.told() if one["id"] == hung and one["status"] == "raised")
    missed_ms = (root.end_time_unix_nano - root.start_time_unix_nano) / 1e6
    assert missed_ms == pytest.approx(-fault["stages_ms"]["deadline"], abs=0.01)


def test_a_collector_that_refuses_costs_no_fault_and_is_said_once(watched, sick):
    watched.collector.status = 503
    raised = watched.fault("hang", 2, "raised")
    until(lambda: "does not take them" in watched.log("controller"))
    watched.fault("wake", 2, "cleared")
    watched.collector.status = 200
    again = watched.fault("hang", 2, "raised")
    watched.fault("wake", 2, "cleared")
    until(lambda: "takes them again" in watched.log("controller"))
    assert raised["id"] != again["id"]
    lines = watched.log("controller").splitlines()
    assert sum("does not take them" in line for line in lines) == 1
    assert "Traceback" not in watched.log("controller")
