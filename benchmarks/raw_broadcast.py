"""A broadcast by the libraries alone: one sender, each receiver a client of its own.

    python -m benchmarks.raw_broadcast mqtt|rabbit URL send
    python -m benchmarks.raw_broadcast mqtt|rabbit URL receive RECEIVERS

Both print `ready`, and read a line. The sender's says what to send, as JSON: `{"at": monotonic
seconds of the first, "period_s", "count", "bytes"}`. At their next line of input both print as JSON
when each message was sent, or arrived, by its number.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

TOPIC = "benchmark"


def text_of(number: int, size_bytes: int) -> str:
    """A message that says its number."""
    return f"{number} ".ljust(size_bytes, "x")


def number_of(text: str | bytes) -> int:
    return int(text[:12].split()[0])


class Arrivals:
    """By number, on the monotonic clock, which is one for all processes of a machine."""

    def __init__(self) -> None:
        self.at: defaultdict[int, list[float]] = defaultdict(list)

    def take(self, _context: dict[str, str], *, text: str) -> None:
        """What oslo.messaging calls."""
        self.at[number_of(text)].append(time.monotonic())


# --- MQTT ------------------------------------------------------------------------------------


async def send_mqtt(url: str) -> None:
    async with _mqtt(url) as client:
        order = await asyncio.to_thread(_ready)
        sent_at = {}
        for number in range(order["count"]):
            await asyncio.sleep(_wait_s(order, number))
            text = text_of(number, order["bytes"])
            sent_at[number] = time.monotonic()
            await client.publish(TOPIC, text, qos=1)
        await asyncio.to_thread(_tell, sent_at)


async def receive_mqtt(url: str, count: int) -> None:
    arrivals = Arrivals()

    async def read(client: Any) -> None:
        async for message in client.messages:
            arrivals.at[number_of(message.payload)].append(time.monotonic())

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_mqtt(url)) for _ in range(count)]
        for client in clients:
            await client.subscribe(TOPIC, qos=1)
        readers = [asyncio.create_task(read(client)) for client in clients]
        await asyncio.to_thread(_ready)
        await asyncio.to_thread(_tell, arrivals.at)
        for reader in readers:
            reader.cancel()


def _mqtt(url: str) -> Any:
    import aiomqtt  # noqa: PLC0415

    parts = urlsplit(url)
    return aiomqtt.Client(parts.hostname or "", parts.port or 1883)


# --- RabbitMQ --------------------------------------------------------------------------------


def send_rabbit(url: str) -> None:
    import oslo_messaging  # noqa: PLC0415

    target = oslo_messaging.Target(topic=TOPIC, fanout=True)
    client = oslo_messaging.get_rpc_client(_rabbit(url), target)
    client.cast({}, "take", text=text_of(-1, 10))  # connects
    order = _ready()
    sent_at = {}
    for number in range(order["count"]):
        time.sleep(_wait_s(order, number))
        text = text_of(number, order["bytes"])
        sent_at[number] = time.monotonic()
        client.cast({}, "take", text=text)
    _tell(sent_at)


def receive_rabbit(url: str, count: int) -> None:
    import oslo_messaging  # noqa: PLC0415

    arrivals = Arrivals()
    transport = _rabbit(url)
    servers = [
        oslo_messaging.get_rpc_server(
            transport,
            oslo_messaging.Target(topic=TOPIC, server=f"receiver-{number}"),
            [arrivals],
            executor="threading",
            access_policy=oslo_messaging.DefaultRPCAccessPolicy,
        )
        for number in range(count)
    ]
    for server in servers:
        server.start()
    _ready()
    _tell(arrivals.at)


def _rabbit(url: str) -> Any:
    import oslo_messaging  # noqa: PLC0415
    from oslo_config import cfg  # noqa: PLC0415

    cfg.CONF([], project="benchmark")
    return oslo_messaging.get_rpc_transport(cfg.CONF, url=url)


# --- both ------------------------------------------------------------------------------------


def _ready() -> dict[str, Any]:
    print("ready", flush=True)
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    return order


def _wait_s(order: dict[str, Any], number: int) -> float:
    due: float = order["at"] + number * order["period_s"]
    return max(0.0, due - time.monotonic())


def _tell(moments: dict[int, Any]) -> None:
    """At the next line of input: what this and the end of a process cost is no broadcast's."""
    sys.stdin.readline()
    print(json.dumps(moments), flush=True)


def main() -> None:
    carrier, url, role, *count = sys.argv[1:]
    if carrier == "mqtt":
        asyncio.run(receive_mqtt(url, int(count[0])) if role == "receive" else send_mqtt(url))
    elif role == "receive":
        receive_rabbit(url, int(count[0]))
    else:
        send_rabbit(url)


if __name__ == "__main__":
    main()
