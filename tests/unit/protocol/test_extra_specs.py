"""What a flavor's extra specs turn on (wire contract, section 7)."""

import pytest

from reachthru.protocol.extra_specs import (
    GUEST_HEARTBEAT,
    SERVER_GROUP_MESSAGING,
    asks_for_port,
    boolean,
    deciding,
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("true", "True", " TRUE ", "1", "t", "on", "y", "yes"), True),
        (("false", "False", "0", "f", "off", "n", "no"), False),
        (("", "maybe", "truee", "2"), None),
    ],
)
def test_values_are_booleans_as_nova_writes_them(words, expected):
    assert {boolean(word) for word in words} == {expected}


@pytest.mark.parametrize(
    ("older", "name"),
    [
        ("sw:wrs:guest:heartbeat", GUEST_HEARTBEAT),
        ("sw:wrs:srv_grp_messaging", SERVER_GROUP_MESSAGING),
    ],
)
def test_the_older_name_decides_where_the_newer_is_missing(older, name):
    assert deciding({older: "true"}, name) == (older, "true")
    assert deciding({older: "true", name: "false"}, name) == (name, "false")
    assert deciding({}, name) is None


def test_one_does_not_decide_the_other():
    assert deciding({"ha:guest_heartbeat": "true"}, SERVER_GROUP_MESSAGING) is None
    assert deciding({"ha:server_group_messaging": "true"}, GUEST_HEARTBEAT) is None


@pytest.mark.parametrize(
    ("extra_specs", "expected"),
    [
        ({}, False),
        ({"hw:cpu_policy": "dedicated"}, False),
        ({"ha:guest_heartbeat": "false", "ha:server_group_messaging": "no"}, False),
        ({"ha:guest_heartbeat": "maybe"}, False),
        ({"ha:guest_heartbeat": "true"}, True),
        ({"ha:server_group_messaging": "true"}, True),
        ({"ha:guest_heartbeat": "false", "sw:wrs:srv_grp_messaging": "1"}, True),
    ],
)
def test_either_one_needs_the_port(extra_specs, expected):
    assert asks_for_port(extra_specs) is expected
