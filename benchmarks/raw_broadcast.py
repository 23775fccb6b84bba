"""Broadcasts by the libraries alone: in each group one sender; each receiver a client of its own.

    python -m benchmarks.raw_broadcast mqtt|rabbit URL send GROUPS
    python -m benchmarks.raw_broadcast mqtt|rabbit URL receive GROUPS RECEIVERS

Both print `ready`, and read lines. The sender's say what to send, as JSON: `{"at": monotonic
seconds of the first, "period_s", "count", "bytes"}`; groups take turns. At a line `{}` both print
as JSON when each message was sent, or arrived, by its number, and forget it.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
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

    def tell(self) -> None:
        at, self.at = self.at, defaultdict(list)
        print(json.dumps(at), flush=True)


# --- MQTT ------------------------------------------------------------------------------------


async def send_mqtt(url: str, groups: int) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_mqtt(url)) for _ in range(groups)]
        print("ready", flush=True)
        while order := await asyncio.to_thread(_order):
            sent_at: dict[int, float] = {}

            async def send(group: int, order: dict[str, Any], sent_at: dict[int, float]) -> None:
                for number in range(group, order["count"], groups):
                    await asyncio.sleep(_wait_s(order, number))
                    text = text_of(number, order["bytes"])
                    sent_at[number] = time.monotonic()
                    await clients[group].publish(f"{TOPIC}/{group}", text, qos=1)

            await asyncio.gather(*(send(group, order, sent_at) for group in range(groups)))
            await asyncio.to_thread(_tell_when_asked, sent_at)


async def receive_mqtt(url: str, groups: int, count: int) -> None:
    arrivals = Arrivals()

    async def read(client: Any) -> None:
        async for message in client.messages:
            arrivals.at[number_of(message.payload)].append(time.monotonic())

    async with AsyncExitStack() as stack:
        readers = []
        for number in range(groups * count):
            client = await stack.enter_async_context(_mqtt(url))
            await client.subscribe(f"{TOPIC}/{number % groups}", qos=1)
            readers.append(asyncio.create_task(read(client)))
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            arrivals.tell()


def _mqtt(url: str) -> Any:
    import aiomqtt  # noqa: PLC0415

    parts = urlsplit(url)
    return aiomqtt.Client(parts.hostname or "", parts.port or 1883)


# --- RabbitMQ --------------------------------------------------------------------------------


def send_rabbit(url: str, groups: int) -> None:
    import oslo_messaging  # noqa: PLC0415

    transport = _rabbit(url)
    clients = [
        oslo_messaging.get_rpc_client(
            transport, oslo_messaging.Target(topic=f"{TOPIC}-{group}", fanout=True)
        )
        for group in range(groups)
    ]
    for client in clients:
        client.cast({}, "take", text=text_of(-1, 10))  # connects
    print("ready", flush=True)
    with ThreadPoolExecutor(groups) as threads:
        while order := _order():
            sent_at: dict[int, float] = {}

            def send(group: int, order: dict[str, Any], sent_at: dict[int, float]) -> None:
                for number in range(group, order["count"], groups):
                    time.sleep(_wait_s(order, number))
                    text = text_of(number, order["bytes"])
                    sent_at[number] = time.monotonic()
                    clients[group].cast({}, "take", text=text)

            tasks = [threads.submit(send, group, order, sent_at) for group in range(groups)]
            for task in tasks:
                task.result()
            _tell_when_asked(sent_at)


def receive_rabbit(url: str, groups: int, count: int) -> None:
    import oslo_messaging  # noqa: PLC0415

    arrivals = Arrivals()
    transport = _rabbit(url)
    servers = [
        oslo_messaging.get_rpc_server(
            transport,
            oslo_messaging.Target(topic=f"{TOPIC}-{number % groups}", server=f"receiver-{number}"),
            [arrivals],
            executor="threading",
            access_policy=oslo_messaging.DefaultRPCAccessPolicy,
        )
        for number in range(groups * count)
    ]
    for server in servers:
        server.start()
    print("ready", flush=True)
    while sys.stdin.readline():
        arrivals.tell()


def _rabbit(url: str) -> Any:
    import oslo_messaging  # noqa: PLC0415
    from oslo_config import cfg  # noqa: PLC0415

    cfg.CONF([], project="benchmark")
    return oslo_messaging.get_rpc_transport(cfg.CONF, url=url)


# --- both ------------------------------------------------------------------------------------


def _order() -> dict[str, Any]:
    """Empty at the end of input."""
    order: dict[str, Any] = json.loads(sys.stdin.readline() or "{}")
    return order


def _wait_s(order: dict[str, Any], number: int) -> float:
    due: float = order["at"] + number * order["period_s"]
    return max(0.0, due - time.monotonic())


def _tell_when_asked(sent_at: dict[int, float]) -> None:
    """What this costs is no broadcast's."""
    sys.stdin.readline()
    print(json.dumps(sent_at), flush=True)


def main() -> None:
    carrier, url, role, *numbers = sys.argv[1:]
    groups, *count = map(int, numbers)
    if carrier == "mqtt":
        asyncio.run(
            receive_mqtt(url, groups, *count) if role == "receive" else send_mqtt(url, groups)
        )
    elif role == "receive":
        receive_rabbit(url, groups, *count)
    else:
        send_rabbit(url, groups)


if __name__ == "__main__":
    main()
