"""What people see of others' texts."""

import pytest

from reachthru.guest_daemon.client import Broadcast, Dropped, Notification, Refused
from reachthru.guest_daemon.group.show import safe, show_event, show_members


@pytest.mark.parametrize(
    "text", ["Grüße", "你好\u3000世界", "שלום", "नमस्\u200dते", "👩\u200d🚀", "e\u0301", "a b\\n"]
)
def test_every_script_is_shown_as_it_is(text):
    assert safe(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb\tc\bd", "a\\rb\\tc\\x08d"),
        ("\x7f\x80\x9b2J", "\\x7f\\x80\\x9b2J"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("a\u2028b", "a\\u2028b"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_as_an_escape(text, shown):
    assert safe(text) == shown


def test_events_are_one_line_each():
    status = {"display_name": "db\x1b", "instance_id": "i-1", "state": "stopped"}
    assert [
        show_event(event)
        for event in (
            Broadcast("i-2", "hi"),
            Notification(status, "compute.instance.power_off.end"),
            Notification({}),
            Refused("broadcast", "no group"),
            Dropped(7),
        )
    ] == [
        "i-2: hi",
        "* db\\x1b (i-1) is stopped (compute.instance.power_off.end)",
        "* a member is changed",
        "* refused by the host: broadcast: no group",
        "* 7 messages came faster than they were read, and are lost",
    ]


def test_a_group_of_nobody_is_a_head_line():
    assert show_members([]).split() == ["INSTANCE", "NAME", "HOSTNAME", "STATE", "DESCRIPTION"]
