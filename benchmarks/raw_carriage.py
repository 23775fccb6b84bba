"""The same bytes, carried by the libraries alone: what a burst costs at the least.

    python -m benchmarks.raw_carriage mqtt|rabbit URL COUNT BYTES

Prints as JSON how many seconds passed from the first send to the last arrival, and the CPU of both
ends for each message. Each is confirmed by the broker, as ours are; nothing is stored at either
end, and nothing is answered.
"""

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

TOPIC = "benchmark"
SENDERS = 8  # threads: each cast waits for its confirmation
WINDOW = 200  # messages of MQTT on their way
LIMIT_S = 300.0


async def mqtt(url: str, count: int, payload: bytes) -> float:
    import aiomqtt  # noqa: PLC0415

    parts = urlsplit(url)
    arrived = asyncio.Event()

    async def read(client: aiomqtt.Client) -> None:
        left = count
        async for _message in client.messages:
            left -= 1
            if not left:
                arrived.set()

    address = (parts.hostname or "", parts.port or 1883)
    async with (
        aiomqtt.Client(*address, max_inflight_messages=WINDOW) as sender,
        aiomqtt.Client(*address) as receiver,
    ):
        sender.pending_calls_threshold = WINDOW  # it complains above
        await receiver.subscribe(TOPIC, qos=1)
        reading = asyncio.create_task(read(receiver))
        slots = asyncio.Semaphore(WINDOW)

        async def send() -> None:
            async with slots:
                await sender.publish(TOPIC, payload, qos=1, timeout=LIMIT_S)

        began = time.monotonic()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(send() for _ in range(count)))
            await arrived.wait()
        reading.cancel()
        return time.monotonic() - began


def rabbit(url: str, count: int, payload: bytes) -> float:
    import oslo_messaging  # noqa: PLC0415
    from oslo_config import cfg  # noqa: PLC0415

    arrived = threading.Event()

    class Endpoint:
        left = count

        def take(self, _context: dict[str, str], **_message: str) -> None:
            self.left -= 1
            if not self.left:
                arrived.set()

    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
    receiving = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
    server = oslo_messaging.get_rpc_server(
        receiving,
        oslo_messaging.Target(topic=TOPIC, server="one"),
        [Endpoint()],
        executor="threading",
        access_policy=oslo_messaging.DefaultRPCAccessPolicy,
    )
    server.start()
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic=TOPIC))
    text = payload.decode()
    began = time.monotonic()
    with ThreadPoolExecutor(SENDERS) as senders:
        list(senders.map(lambda _number: client.cast({}, "take", text=text), range(count)))
    assert arrived.wait(LIMIT_S)
    took_s = time.monotonic() - began
    server.stop()
    server.wait()
    return took_s


def main() -> None:
    carrier, url, count, size = sys.argv[1:]
    payload = b"x" * int(size)
    cpu_before_s = time.process_time()
    if carrier == "mqtt":
        took_s = asyncio.run(mqtt(url, int(count), payload))
    else:
        took_s = rabbit(url, int(count), payload)
    cpu_us = (time.process_time() - cpu_before_s) / int(count) * 1e6
    print(json.dumps({"took_s": took_s, "cpu_us": cpu_us}), flush=True)


main()
