import json
import threading
import time
import urllib.request

import pytest

from reachthru.demo.consumer import Consumer

RAISED = {"kind": "unhealthy", "status": "raised", "instance_uuid": "a"}


def post(url, fault):
    request = urllib.request.Request(url, json.dumps(fault).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.status


@pytest.fixture
def consumer():
    with Consumer() as consumer:
        yield consumer


def test_a_delivery_is_noted_with_its_time(consumer):
    before = time.monotonic()
    assert post(consumer.url, RAISED) == 204
    (delivery,) = consumer.deliveries()
    assert delivery.fault == RAISED
    assert before <= delivery.arrived_at <= time.monotonic()


def test_waiting_ends_when_the_change_arrives(consumer):
    threading.Timer(0.05, post, (consumer.url, RAISED)).start()
    found = consumer.wait_for(lambda one: one.is_change("unhealthy", "raised", "a"), 5)
    assert found is not None


def test_waiting_in_vain_says_so(consumer):
    post(consumer.url, RAISED)
    assert consumer.wait_for(lambda one: one.is_change("unhealthy", "cleared", "a"), 0.05) is None


def test_what_came_before_an_injury_is_not_taken_for_its_fault(consumer):
    post(consumer.url, RAISED)
    injured_at = time.monotonic()
    same = consumer.wait_for(
        lambda one: one.is_change("unhealthy", "raised", "a"), 0.05, injured_at
    )
    assert same is None
