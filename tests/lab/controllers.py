"""Several real controllers on one broker and one database, a webhook, and played agents."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict, deque
from datetime import UTC, datetime
from pathlib import Path

from reachthru.bus import BusUnavailableError, agent_bus
from reachthru.protocol.agent_bus import (
    AgentReport,
    FaultAck,
    FaultChange,
    GroupAck,
    GroupBroadcast,
    GroupDelivery,
    GroupNotification,
    InstanceReport,
    ReportRequest,
)
from servers.ports import free_port

DEADLINE_S = 120
REPORT_PERIOD_S = 1.0
RESEND_S = 5.0  # as the real courier
AGENT_VERSION = "1"


async def until(condition, deadline_s=DEADLINE_S):
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.01)


def now():
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Mosquitto:
    """A broker on a free port, for a module's tests."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(
            f"user root\nlistener {self.port} 127.0.0.1\nallow_anonymous true\n"
            "max_queued_messages 100000\nmax_inflight_messages 200\n"
        )

    def __enter__(self):
        self._process = subprocess.Popen(
            ["/usr/sbin/mosquitto", "-c", self._settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            time.sleep(0.01)
        raise AssertionError("mosquitto does not listen")

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()


class Webhook:
    """Keeps every fault that it was told of, in order."""

    async def __aenter__(self):
        self.told = []
        self._handlers = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    @property
    def keys(self):
        return [(fault["id"], fault["status"]) for fault in self.told]

    def by_instance(self):
        """The changes of each, without repeats, in the order in which they were told first."""
        found = defaultdict(dict)
        for fault in self.told:
            found[fault["instance_uuid"]][fault["id"], fault["status"]] = None
        return {uuid: list(keys) for uuid, keys in found.items()}

    async def _serve(self, reader, writer):
        self._handlers.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = head.split("content-length: ")[1].split("\r\n")[0]
                self.told.append(json.loads(await reader.readexactly(int(length))))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class Controller:
    """A real `reachthru-controller`; can be killed, and started again."""

    def __init__(self, folder: Path, settings: str, api_port: int | None = None) -> None:
        self.api_port = api_port or free_port()
        self.process = None
        self.log_path = folder / "log"
        folder.mkdir()
        self._settings = folder / "controller.conf"
        self._settings.write_text(f"{settings}[api]\nlisten = 127.0.0.1:{self.api_port}\n")

    async def start(self, *, wait=True):
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "reachthru.controller_server.cli",
                "--config-file",
                self._settings,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            )
        if wait:
            await self.ready()

    async def ready(self):
        async with asyncio.timeout(DEADLINE_S):
            while await self.role() is None:
                assert self.process.returncode is None, self.log()
                await asyncio.sleep(0.05)

    async def role(self):
        """leader, follower, or None while it is not ready."""
        with contextlib.suppress(OSError):
            return (await self.get("/readyz"))["role"]

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self):
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), DEADLINE_S)

    async def get(self, path):
        return await self.call("GET", path)

    async def call(self, method, path, **body):
        def ask():
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.api_port}{path}",
                json.dumps(body).encode() if body else None,
                {"Content-Type": "application/json"},
                method=method,
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                text = answer.read().decode()
                return text if path == "/metrics" else json.loads(text)

        return await asyncio.to_thread(ask)

    async def metric(self, name):
        lines = (await self.get("/metrics")).splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def log(self):
        return self.log_path.read_text()


class Agent:
    """What a host agent does on the bus: reports, an outbox in order, broadcasts."""

    def __init__(self, url, host, instances):
        self.host, self.instances = host, instances
        self.bus = agent_bus(url, host)
        self.seq = 0
        self.raised = Counter()  # faults by instance
        self.outbox = defaultdict(deque)  # changes by instance: the first is on its way
        self.sent_at = {}
        self.taken, self.refused = set(), {}
        self.heard = Counter()  # broadcasts' texts
        self.notified = []
        self.said = 0
        self._tasks = []

    async def __aenter__(self):
        self.bus.on_connection = lambda connected: connected and self._again()
        await self.bus.__aenter__()
        self._tasks = [
            asyncio.create_task(part()) for part in (self._read, self._report_on, self._resend)
        ]
        await until(lambda: self.bus.connected)
        return self

    async def __aexit__(self, *error):
        for task in self._tasks:
            task.cancel()
        await self.bus.__aexit__(*error)

    @property
    def waiting(self):
        return sum(map(len, self.outbox.values()))

    async def vanish(self):
        """As a host without power does."""
        for task in self._tasks:
            task.cancel()
        self.bus._connection._keeper.cancel()

    def toggle(self, instance):
        """The instance's next fault: the raise, and the clearing of it."""
        for status in ("raised", "cleared"):
            self._record(instance, status)
        self._send_next(instance)

    def change(self, instance, status, **values):
        """`values` are further ones of the fault's. Returns its id."""
        fault_id = self._record(instance, status, **values)
        self._send_next(instance)
        return fault_id

    def _record(self, instance, status, **values):
        self.seq += 1
        moment = now()
        fault_id = f"{instance}-{self.raised[instance]}"
        self.outbox[instance].append(
            FaultChange(
                fault_id=fault_id,
                seq=self.seq,
                status=status,
                kind="heartbeat_lost",
                severity="critical",
                instance_uuid=instance,
                instance_name=instance,
                host=self.host,
                raised_at=moment,
                cleared_at=moment if status == "cleared" else None,
                **values,
            )
        )
        self.raised[instance] += status == "cleared"
        return fault_id

    def broadcast(self, instance, text):
        self.said += 1
        return self.bus.offer(GroupBroadcast(id=self.said, sender=instance, data=text))

    def _send_next(self, instance):
        waiting = self.outbox[instance]
        if waiting and waiting[0].seq not in self.sent_at:
            self.sent_at[waiting[0].seq] = time.monotonic()
            self._tasks.append(asyncio.create_task(self._send(waiting[0])))

    async def _send(self, message):
        with contextlib.suppress(BusUnavailableError):
            await self.bus.send(message)

    def _again(self):
        self.sent_at.clear()
        for instance in list(self.outbox):
            self._send_next(instance)
        self._tasks.append(asyncio.create_task(self.report()))

    async def _resend(self):
        while True:
            await asyncio.sleep(0.5)
            for seq, sent_at in list(self.sent_at.items()):
                if time.monotonic() - sent_at > RESEND_S:
                    del self.sent_at[seq]
            for instance in list(self.outbox):
                self._send_next(instance)

    async def report(self):
        await self._send(
            AgentReport(
                host=self.host,
                agent_version=AGENT_VERSION,
                sent_at=now(),
                lateness_ms=0.0,
                guests=len(self.instances),
                full=True,
                instances=[
                    InstanceReport(uuid=uuid, name=uuid, state="running", registered=True)
                    for uuid in self.instances
                ],
            )
        )

    async def _report_on(self):
        while True:
            await self.report()
            await asyncio.sleep(REPORT_PERIOD_S)

    async def _read(self):
        async for message in self.bus.messages():
            if isinstance(message, FaultAck):
                self._acknowledged(message.seqs)
            elif isinstance(message, ReportRequest):
                self._again()
            elif isinstance(message, GroupAck):
                self.taken.update(message.taken)
                self.refused.update({item.id: item.log_msg for item in message.refused})
            elif isinstance(message, GroupDelivery):
                self.heard[message.data] += 1
            elif isinstance(message, GroupNotification):
                self.notified.append(message)

    def _acknowledged(self, seqs):
        for instance, waiting in list(self.outbox.items()):
            if waiting and waiting[0].seq in seqs:
                self.sent_at.pop(waiting.popleft().seq, None)
                self._send_next(instance)
