"""What a guest may say and read: 3050 bytes of UTF-8, 4095 bytes of message."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reachthru.protocol.server_group import (
    STATUS_KEYS,
    TRIM_ORDER,
    fit_notification,
    fit_status,
    refuse_broadcast,
    size_bytes,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
LARGE = st.text(min_size=200, max_size=3000) | JSON
STATUSES = st.dictionaries(st.sampled_from(sorted(STATUS_KEYS)) | st.text(), LARGE, max_size=30)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x" * 3050,
        "é" * 1525,
        "你" * 1016,
        "🚑" * 762,
        "\x01\t\r\x1f\x7f",
        "\u2028",
        '"\\/',
    ],
)
def test_what_may_be_broadcast(text):
    assert refuse_broadcast(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x" * 3051, ["3051 bytes", "3050"]),
        ("é" * 1525 + "x", ["3051 bytes", "3050"]),
        ("🚑" * 763, ["3052 bytes", "3050"]),
        ("a\nb", ["newline"]),
        ("a\0", ["NUL"]),
        ("\ud800", ["UTF-8"]),
    ],
)
def test_what_may_not_be_broadcast_is_said_why(text, words):
    refusal = refuse_broadcast(text)
    assert refusal is not None
    assert all(word in refusal for word in words)


def test_a_status_that_fits_is_told_whole():
    status = {"instance_id": "u", "metadata": {"a": "b"}, "vcpus": 2, "unheard_of": [1]}
    assert fit_status(7, status).data == status


def test_the_largest_and_least_useful_goes_first():
    status = dict.fromkeys(STATUS_KEYS, "x" * 100)
    status |= {"metadata": {"a": "y" * 3000}, "unknown": "z" * 50, "huge": "z" * 900}
    kept = set(fit_status(1, status).data)
    gone = set(status) - kept
    assert {"unknown", "huge", "metadata"} <= gone
    assert {"instance_id", "display_name", "state", "hostname", "host"} <= kept
    # In the order that the documentation gives: whatever is gone, all before it is gone, too.
    assert gone - {"unknown", "huge"} == set(TRIM_ORDER[: len(gone) - 2])


def test_a_large_key_that_nobody_knows_goes_alone():
    status = {"instance_id": "u", "small": 1, "large": "x" * 5000, "metadata": {"a": "b"}}
    assert fit_status(1, status).data == {"instance_id": "u", "small": 1, "metadata": {"a": "b"}}


def test_a_notifications_shape_is_its_readers():
    words = ("compute.instance.update", "ERROR", "2026-01-01T00:00:00.000000+00:00")
    status = {"instance_id": "u", "state": "error"}
    assert fit_notification(*words, status, 1).data == status
    assert fit_notification(*words, status, 2).data == {
        "event_type": words[0],
        "priority": words[1],
        "timestamp": words[2],
        "payload": status,
    }


@settings(max_examples=200, deadline=None, database=None)
@given(STATUSES, st.integers(0, 2**32 - 1), st.sampled_from([1, 2]), st.text())
def test_no_message_is_longer_than_a_field_guests_buffer(status, seq, base_version, word):
    for message in (
        fit_status(seq, status),
        fit_notification(word, word, word, status, base_version),
    ):
        assert size_bytes(message) <= 4095
        said = json.loads(json.dumps(message.data))
        told = said if "payload" not in said or base_version == 1 else said["payload"]
        assert told.keys() <= status.keys()
        assert ("state" in status) == ("state" in told)
