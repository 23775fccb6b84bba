"""What a flavor's extra specs turn on (wire contract, section 7)."""

import pytest

from reachthru.protocol.extra_specs import (
    GUEST_HEARTBEAT,
    SERVER_GROUP_MESSAGING,
    asks,
    asks_for_port,
)


@pytest.mark.parametrize("word", ["true", "True", " TRUE ", "1", "t", "on", "y", "yes"])
def test_novas_words_for_yes_turn_it_on(word):
    assert asks({"ha:guest_heartbeat": word}, GUEST_HEARTBEAT)


@pytest.mark.parametrize("word", ["false", "0", "no", "off", "", "maybe", "truee"])
def test_every_other_word_does_not(word):
    assert not asks({"ha:guest_heartbeat": word}, GUEST_HEARTBEAT)


@pytest.mark.parametrize(
    ("older", "name"),
    [
        ("sw:wrs:guest:heartbeat", GUEST_HEARTBEAT),
        ("sw:wrs:srv_grp_messaging", SERVER_GROUP_MESSAGING),
    ],
)
def test_the_older_name_counts_where_the_newer_is_missing(older, name):
    assert asks({older: "true"}, name)
    assert not asks({older: "true", name: "false"}, name)
    assert asks({older: "false", name: "true"}, name)


def test_one_does_not_turn_on_the_other():
    assert not asks({"ha:guest_heartbeat": "true"}, SERVER_GROUP_MESSAGING)
    assert not asks({"ha:server_group_messaging": "true"}, GUEST_HEARTBEAT)


@pytest.mark.parametrize(
    ("extra_specs", "expected"),
    [
        ({}, False),
        ({"hw:cpu_policy": "dedicated"}, False),
        ({"ha:guest_heartbeat": "false", "ha:server_group_messaging": "no"}, False),
        ({"ha:guest_heartbeat": "true"}, True),
        ({"ha:server_group_messaging": "true"}, True),
        ({"ha:guest_heartbeat": "false", "sw:wrs:srv_grp_messaging": "1"}, True),
    ],
)
def test_either_one_needs_the_port(extra_specs, expected):
    assert asks_for_port(extra_specs) is expected
