"""What Vitrage's own processor and graph make of faults, in one process."""

import pytest

from lab.vitrage import event

pytestmark = pytest.mark.xdist_group("vitrage")


def of(alarms, *ids):
    return [alarm for alarm in alarms if alarm["id"] in ids]


def test_a_fault_is_an_alarm_on_its_instance(graph_process):
    raised = event(instance="3f2a7c1e-0000-0000-0000-000000000001")
    (alarm,) = of(graph_process.do(["notify", raised]), raised["details"]["id"])
    assert alarm["on"] == [["nova.instance", "3f2a7c1e-0000-0000-0000-000000000001"]]
    assert alarm["vitrage_type"] == "reachthru"
    assert (alarm["name"], alarm["state"]) == ("heartbeat_lost", "Active")
    assert (alarm["rawtext"], alarm["resource_name"]) == ("no answer", "db-1")


def test_a_lost_host_is_an_alarm_on_the_host(graph_process):
    lost = event(kind="host_lost", instance="", instance_name="", host="compute-9")
    (alarm,) = of(graph_process.do(["notify", lost]), lost["details"]["id"])
    assert alarm["on"] == [["nova.host", "compute-9"]]


@pytest.mark.parametrize(
    ("severity", "operational"),
    [
        ("critical", "CRITICAL"),
        ("major", "SEVERE"),
        ("minor", "WARNING"),
        ("warning", "WARNING"),
        ("of a later version", "N/A"),
    ],
)
def test_severities_are_vitrages(graph_process, severity, operational):
    raised = event(severity=severity)
    (alarm,) = of(graph_process.do(["notify", raised]), raised["details"]["id"])
    assert alarm["vitrage_operational_severity"] == operational


def test_two_instances_of_one_host_are_two_alarms(graph_process):
    first, second = event(), event()
    alarms = graph_process.do(["notify", first], ["notify", second])
    assert len(of(alarms, first["details"]["id"], second["details"]["id"])) == 2


def test_a_repeated_fault_is_one_alarm_and_its_clearing_ends_it(graph_process):
    raised = event("repeated")
    over = event("repeated", status="cleared", instance=raised["details"]["instance_uuid"])
    (before,) = of(graph_process.do(["notify", raised]), "repeated")
    (after,) = of(graph_process.do(["notify", raised]), "repeated")
    assert before["vitrage_id"] == after["vitrage_id"]
    assert not of(graph_process.do(["notify", over], ["notify", over]), "repeated")


def test_a_clearing_ends_its_own_fault_only(graph_process):
    """Of two hosts, one of which died with its fault, or of the same kind once more."""
    first, second = event("of-a", host="a", instance="vm"), event("of-b", host="b", instance="vm")
    over = event("of-a", host="a", instance="vm", status="cleared")
    alarms = graph_process.do(["notify", first], ["notify", second], ["notify", over])
    assert [alarm["id"] for alarm in of(alarms, "of-a", "of-b")] == ["of-b"]


def test_a_raise_that_is_processed_after_its_clearing_is_no_alarm(graph_process):
    """Vitrage's listener has many threads, which wait for one lock in no order."""
    raised = event("turned", instance="vm")
    over = event("turned", instance="vm", status="cleared")
    assert not of(graph_process.do(["turned", raised, over]), "turned")
    assert not of(graph_process.do(["notify", raised]), "turned")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        "fault",
        {},
        {"details": None},
        {"details": {"id": "x"}},
        event("bad", status="up"),
        event("bad", status=["raised"]),
        event("bad", kind=17),
        event("bad", raised_at="yesterday"),
        event("bad", host=""),
        event("bad", instance={"uuid": "x"}),
    ],
)
def test_what_is_no_fault_is_ignored_and_said(graph_process, bad):
    good = event()
    said = graph_process.log.read_text().count("can't be read is ignored")
    alarms = graph_process.do(["notify", bad], ["notify", good])
    assert not of(alarms, "bad", "x")
    assert of(alarms, good["details"]["id"])
    log = graph_process.log.read_text()
    assert log.count("can't be read is ignored") == said + 1
    assert "PROCESSOR FAILED" not in log


def test_without_a_controller_to_ask_a_snapshot_ends_no_alarm(graph_process):
    raised = event()
    alarms = graph_process.do(["notify", raised], ["snapshot", "snapshot"])
    assert of(alarms, raised["details"]["id"])
    assert "http://127.0.0.1:9: Connection refused" in graph_process.log.read_text()
