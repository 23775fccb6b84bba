"""MQTT's own parts; what it shares with other carriers is in tests/contract."""

import pytest

from reachthru.bus import BusDoor, BusUrlError, DoorError, agent_bus, controller_bus
from reachthru.bus.mqtt.client import Address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker", Address("broker", 1883)),
        ("mqtts://broker", Address("broker", 8883, tls=True)),
        ("mqtt://broker:1999/", Address("broker", 1999)),
        ("mqtt://[::1]:1999", Address("::1", 1999)),
    ],
)
def test_a_url_names_a_broker(url, address):
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    "url", ["mqtt://", "mqtt://broker:many", "mqtt://broker:70000", "mqtt://broker/topic", "x://y"]
)
def test_a_url_that_names_none_is_refused(url):
    with pytest.raises(BusUrlError) as refusal:
        controller_bus(url, "a")
    assert url in str(refusal.value)


def test_a_password_in_a_url_is_never_shown():
    with pytest.raises(BusUrlError) as refusal:
        controller_bus("mqtts://me:secret@broker:1/topic", "a")
    assert "secret" not in str(refusal.value)
    assert "mqtts://broker:1/topic" in str(refusal.value)


def test_a_user_is_named_in_the_url_or_beside_it_and_not_in_both():
    controller_bus("mqtt://me:secret@broker", "a")
    with pytest.raises(DoorError, match="one of the two"):
        controller_bus("mqtt://me:secret@broker", "a", BusDoor(username="you"))


@pytest.mark.parametrize("host", ["", "a/b", "a+", "#"])
async def test_a_host_that_would_break_a_topic_is_refused(host):
    with pytest.raises(ValueError, match="host"):
        agent_bus("mqtt://127.0.0.1", host)
