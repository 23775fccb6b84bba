"""Nova's two forms of one notification are read alike; what can't be read says why."""

import json
from pathlib import Path

import pytest

from reachthru.controller_server.nova.news import GarbledError, GroupNews, iso_utc, read

LIFE = Path(__file__).parents[3] / "golden/nova/life.jsonl"
TIME = "2026-01-02 03:04:05.678901"
INSTANCE = {"instance_id": "vm", "state": "active", "tenant_id": "p", "host": None}


@pytest.fixture
def recorded():
    """recorded(event_type): the first such notification of a real life, read."""
    by_type = {}
    for line in LIFE.read_text().splitlines():
        notification = json.loads(line)
        by_type.setdefault(notification["event_type"], notification)

    def recorded(event_type):
        found = by_type[event_type]
        context = {"request_id": found["_context_request_id"]}
        return read(context, event_type, found["payload"], found["timestamp"], "INFO")

    return recorded


@pytest.mark.parametrize("action", ["create", "pause", "power_off", "shutdown", "delete"])
def test_both_forms_of_a_notification_say_the_same(recorded, action):
    versioned = recorded(f"instance.{action}.end")
    legacy = recorded(f"compute.instance.{action}.end")

    assert versioned.word == legacy.word == f"compute.instance.{action}.end"
    assert versioned.uuid == legacy.uuid
    assert versioned.request_id == legacy.request_id
    # Written in each form's own way: times, and texts for nothing.
    differing = {"created_at", "launched_at", "terminated_at", "deleted_at"}
    shared = (versioned.status.keys() & legacy.status.keys()) - differing
    assert {key: versioned.status[key] for key in shared} == {
        key: legacy.status[key] for key in shared
    }
    assert {"host", "state", "memory_mb", "disk_gb", "instance_type", "metadata"} <= shared


def test_the_versioned_create_names_the_instance_as_the_hypervisor_does(recorded):
    assert recorded("instance.create.end").name.startswith("instance-0000")
    assert recorded("compute.instance.create.end").name is None


def test_members_of_a_group_are_read_from_both_forms(recorded):
    versioned = recorded("server_group.add_member")
    legacy = recorded("servergroup.addmember")

    assert isinstance(versioned, GroupNews)
    assert (versioned.group_id, versioned.members) == (legacy.group_id, legacy.members)
    assert legacy.name is None  # only its creation names it


@pytest.mark.parametrize(
    "event_type", ["compute.instance.exists", "instance.volume_attach.end", "", None, 7]
)
def test_what_doesnt_matter_is_not_read_at_all(event_type):
    assert read({}, event_type, object(), None, "INFO") is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, "payload is NoneType"),
        ({"nova_object.data": []}, "nova_object.data"),
        ({}, "state is None"),
        ({"state": 7}, "state is 7"),
        ({**INSTANCE, "instance_id": ""}, "instance_id is ''"),
        ({**INSTANCE, "host": ["h"]}, "host is ['h']"),
        ({**INSTANCE, "tenant_id": 1}, "tenant_id is 1"),
    ],
)
def test_a_garbled_payload_says_what_is_wrong(payload, reason):
    with pytest.raises(GarbledError) as caught:
        read({}, "compute.instance.update", payload, TIME, "INFO")
    assert reason in str(caught.value)


@pytest.mark.parametrize("when", [None, "", "yesterday", 7, {}])
def test_a_notification_without_a_time_is_garbled(when):
    with pytest.raises(GarbledError, match="not a time"):
        read({}, "compute.instance.update", INSTANCE, when, "INFO")


@pytest.mark.parametrize("members", ["vm", {"vm": 1}, [1]])
def test_members_that_are_no_list_of_ids_are_garbled(members):
    payload = {"server_group_id": "g", "instance_uuids": members}
    with pytest.raises(GarbledError, match="not a list of ids"):
        read({}, "servergroup.addmember", payload, TIME, "INFO")


@pytest.mark.parametrize(
    "text", [TIME, "2026-01-02T03:04:05.678901Z", "2026-01-02T04:04:05.678901+01:00"]
)
def test_times_of_all_forms_compare_as_text(text):
    assert iso_utc(text) == "2026-01-02T03:04:05.678901+00:00"
