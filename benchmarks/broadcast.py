"""How long a broadcast takes from guest to guest, through two host agents and the controller.

The reference is the broker's own: the same bytes, published by one aiomqtt client and received by
another, in turns with ours, over the same broker. A broadcast passes the broker twice.
"""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiomqtt

from benchmarks.results import Result, percentile
from reachthru.demo.stack import Stack
from reachthru.protocol.agent_bus import GroupBroadcast, encode

MESSAGES = 400
WARM_UP = 20
TEXT_BYTES = 600
PERIOD_S = 0.037  # under a guest's default rate, and in step with no tick of ours
LIMIT_S = 10.0
SENDER, RECEIVER = "sender", "receiver"
ADDRESS = "cgcs.server_grp"
TOPIC = "benchmark/raw"


def run() -> list[Result]:
    print(f"broadcast: {MESSAGES} of {TEXT_BYTES} bytes from guest to guest ...", flush=True)
    with Stack("directory", groups={"pair": [SENDER, RECEIVER]}) as stack:
        other_ports = stack.add_host("compute-1")
        with _guest(stack.ports, SENDER) as sender, _guest(other_ports, RECEIVER) as receiver:
            for uuid in (SENDER, RECEIVER):
                stack.wait_until(partial(_is_running, stack, uuid), f"{uuid} at the controller")
            ours_ms, raw_ms = asyncio.run(_measure(sender, receiver, stack.bus_port))
    detail = (
        f"p99 {percentile(ours_ms, 0.99):.2f}, max {ours_ms[-1]:.2f};"
        f" reference p99 {percentile(raw_ms, 0.99):.2f}, max {raw_ms[-1]:.2f}"
    )
    value, reference = percentile(ours_ms, 0.5), percentile(raw_ms, 0.5)
    return [Result("broadcast_p50.mqtt", value, "ms", reference, detail)]


def _is_running(stack: Stack, uuid: str) -> bool:
    return bool(stack.instance(uuid).get("state") == "running")


@contextmanager
def _guest(ports: Path, uuid: str) -> Iterator[socket.socket]:
    """The connection of an agent to a guest's port."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(ports / f"cgcs.messaging.{uuid}.sock"))
        listener.listen(1)
        listener.settimeout(LIMIT_S)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(LIMIT_S)
            yield connection


async def _measure(
    sender: socket.socket, receiver: socket.socket, bus_port: int
) -> tuple[list[float], list[float]]:
    """Milliseconds through the agents, and through the broker alone, both sorted.

    In turns, so that whatever else this machine does is in both.
    """
    ours_ms, raw_ms = [], []
    async with (
        aiomqtt.Client("127.0.0.1", bus_port) as publisher,
        aiomqtt.Client("127.0.0.1", bus_port) as subscriber,
    ):
        await subscriber.subscribe(TOPIC, qos=1)
        for number in range(WARM_UP + MESSAGES):
            text = f"{number} ".ljust(TEXT_BYTES, "x")
            ours_ms.append(_through_agents(sender, receiver, text))
            await asyncio.sleep(PERIOD_S)
            raw_ms.append(await _through_broker(publisher, subscriber, number, text))
            await asyncio.sleep(PERIOD_S)
    return sorted(ours_ms[WARM_UP:]), sorted(raw_ms[WARM_UP:])


def _through_agents(sender: socket.socket, receiver: socket.socket, text: str) -> float:
    """Blocking: there is nothing else for this process to do meanwhile."""
    data = {"msg_type": "broadcast", "data": text}
    envelope = {"version": 1, "source_addr": ADDRESS, "dest_addr": ADDRESS, "data": data}
    line = b"\n" + json.dumps(envelope).encode() + b"\n"
    began = time.monotonic()
    sender.sendall(line)
    told = b""
    while text.encode() not in told:  # at first, news of the sender's own start come, too
        told += receiver.recv(65536)
    return (time.monotonic() - began) * 1000


async def _through_broker(
    publisher: aiomqtt.Client, subscriber: aiomqtt.Client, number: int, text: str
) -> float:
    payload = encode(GroupBroadcast(id=number, sender=SENDER, data=text))
    began = time.monotonic()
    sending = asyncio.create_task(publisher.publish(TOPIC, payload, qos=1))
    await anext(aiter(subscriber.messages))
    took_ms = (time.monotonic() - began) * 1000
    await sending
    return took_ms
