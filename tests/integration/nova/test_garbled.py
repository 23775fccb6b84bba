"""Notifications that nobody can read cost themselves only."""

import asyncio
import json
import logging
import uuid

import kombu
import pytest

pytestmark = pytest.mark.xdist_group("nova")  # one Nova and one RabbitMQ for all

GOOD = {
    "priority": "INFO",
    "publisher_id": "compute.nowhere",
    "timestamp": "2026-01-02 03:04:05.678901",
    "_context_request_id": "req-1",
}
STATE = {"state": "active", "tenant_id": "a" * 32}


def publish(port, body):
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    with kombu.Connection(url) as connection, connection.channel() as channel:
        exchange = kombu.Exchange("nova", "topic", durable=False, channel=channel)
        kombu.Producer(channel, exchange).publish(
            body,
            routing_key="notifications.info",
            content_type="application/json",
            content_encoding="utf-8",
        )


def notification(**fields):
    message = {"message_id": str(uuid.uuid4()), **GOOD, **fields}
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}), message


@pytest.mark.parametrize(
    "fields",
    [
        {"event_type": "instance.update", "payload": None},
        {"event_type": "instance.update", "payload": {"nova_object.data": 7}},
        {"event_type": "compute.instance.pause.end", "payload": {}},
        {"event_type": "compute.instance.pause.end", "payload": {**STATE, "instance_id": ["x"]}},
        {
            "event_type": "compute.instance.update",
            "payload": {**STATE, "instance_id": "x", "host": {}},
        },
        {
            "event_type": "compute.instance.update",
            "payload": {**STATE, "instance_id": "x"},
            "timestamp": "yesterday",
        },
        {"event_type": "server_group.add_member", "payload": {"nova_object.data": {}}},
        {"event_type": "servergroup.addmember", "payload": {"instance_uuids": "x"}},
    ],
)
async def test_a_garbled_notification_is_logged_once_with_its_id(
    running, rabbit, until, caplog, fields
):
    body, message = notification(**fields)

    await asyncio.to_thread(publish, rabbit.port, body)

    await until(lambda: message["message_id"] in caplog.text)
    await asyncio.sleep(0.3)
    said = [record for record in caplog.records if message["message_id"] in record.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.WARNING
    assert not running.directory.stale


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"{", b"[]", b"null", b"{}", b'{"oslo.message":1}'])
async def test_junk_on_the_queue_doesnt_stop_the_next_notification(running, rabbit, until, junk):
    group_id = str(uuid.uuid4())

    await asyncio.to_thread(publish, rabbit.port, junk)
    body, _ = notification(
        event_type="servergroup.create", payload={"server_group_id": group_id, "name": "after"}
    )
    await asyncio.to_thread(publish, rabbit.port, body)

    await until(lambda: running.directory.group(group_id) is not None, 20)
    assert not running.directory.stale
