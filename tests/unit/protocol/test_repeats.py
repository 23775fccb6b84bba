"""A change of state that a second controller tells again reaches each member once."""

from typing import Any

import pytest

from reachthru.protocol.agent_bus import GroupNotification
from reachthru.protocol.repeats import RecentNotifications


def news(*recipients: str, **changed: Any) -> GroupNotification:
    fields: dict[str, Any] = {
        "event_type": "compute.instance.update",
        "priority": "ERROR",
        "timestamp": "t1",
        "payload": {"instance_id": "m", "state": "error"},
    }
    return GroupNotification(recipients=list(recipients), **{**fields, **changed})


def test_a_repeat_is_for_nobody() -> None:
    seen = RecentNotifications()
    assert seen.new_recipients(news("a", "b")) == ["a", "b"]
    assert seen.new_recipients(news("b", "a")) == []


def test_a_repeat_is_news_for_who_was_not_told() -> None:
    seen = RecentNotifications()
    seen.new_recipients(news("a"))
    assert seen.new_recipients(news("a", "c")) == ["c"]


def test_the_order_of_keys_does_not_matter() -> None:
    seen = RecentNotifications()
    seen.new_recipients(news("a"))
    again = news("a", payload={"state": "error", "instance_id": "m"}, priority="INFO")
    assert seen.new_recipients(again) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"event_type": "compute.instance.power_on.end"},
        {"timestamp": "t2"},
        {"payload": {"instance_id": "m", "state": "active"}},
        {"payload": {"instance_id": "n", "state": "error"}},
    ],
)
def test_anything_new_is_news(changed: dict[str, Any]) -> None:
    seen = RecentNotifications()
    seen.new_recipients(news("a"))
    assert seen.new_recipients(news("a", **changed)) == ["a"]


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    seen = RecentNotifications(limit=10)
    for number in range(100):
        seen.new_recipients(news("a", timestamp=str(number)))
    assert len(seen._seen) == 10
    assert seen.new_recipients(news("a", timestamp="99")) == []
    assert seen.new_recipients(news("a", timestamp="0")) == ["a"]
