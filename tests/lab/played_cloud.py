"""A cloud for the page: a real controller with its broker and SQLite, and hosts that are played.

What the hosts say comes in by the controller's own doors: reports and faults over the bus, groups
from a file. The webhook is answered here, and refuses whom it is told to refuse.
"""

import asyncio
import contextlib
import secrets
import uuid
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import httpx
import yaml
from msgspec import structs

from lab.controllers import Controller, until
from reachthru.bus import BusUnavailableError, agent_bus
from reachthru.protocol.agent_bus import (
    AgentOffline,
    AgentReport,
    FaultAck,
    FaultChange,
    InstanceReport,
    ReportRequest,
)
from reachthru.protocol.faults import CATALOGUE, FaultKind, FaultStatus
from servers.ports import free_port

VERSION = "0.2.0"


def uuid_of(name):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def iso(ago_s=0.0):
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat(timespec="microseconds")


class PlayedHost:
    """`guests`: by name. They are told by `report`; a fault is on its way until acknowledged."""

    def __init__(self, url, host):
        self.host = host
        self.guests = {}
        self.lateness_ms = 0.4
        self.waiting = 0
        self._bus = agent_bus(url, host)
        self._epoch, self._seq, self._fault_seq = secrets.token_hex(8), 0, 0
        self._acknowledged = set()
        self._raised = {}

    async def __aenter__(self):
        await self._bus.__aenter__()
        self._reading = asyncio.create_task(self._read())
        await until(lambda: self._bus.connected)
        return self

    async def __aexit__(self, *error):
        self._reading.cancel()
        await self._bus.__aexit__(*error)

    def add(self, name, uuid=None, **values):
        """`values`: an InstanceReport's."""
        defaults = {
            "uuid": uuid or uuid_of(name),
            "name": name,
            "state": "running",
            "registered": True,
            "interval_ms": 400,
            "last_seen_at": iso(0.2),
            "health": "healthy",
            "round_trip_ms": 4.2,
        }
        self.guests[name] = InstanceReport(**(defaults | values))
        return self.guests[name]

    def change(self, name, **values):
        self.guests[name] = structs.replace(self.guests[name], **values)

    async def say_goodbye(self):
        await self._bus.send(AgentOffline(host=self.host, clean=True))

    async def report(self, ago_s=0.0):
        """All of them."""
        self._seq += 1
        await self._bus.send(
            AgentReport(
                host=self.host,
                agent_version=VERSION,
                sent_at=iso(ago_s),
                lateness_ms=self.lateness_ms,
                guests=len(self.guests),
                full=True,
                instances=list(self.guests.values()),
                epoch=self._epoch,
                seq=self._seq,
                waiting=self.waiting,
            )
        )

    async def raise_fault(self, name, kind="heartbeat_lost", detail="no answer in time", ago_s=0.0):
        """Returns its id once a controller has it."""
        fault_id = str(uuid.uuid4())
        self._raised[fault_id] = FaultChange(
            fault_id=fault_id,
            seq=0,
            status=FaultStatus.RAISED,
            kind=FaultKind(kind),
            severity=CATALOGUE[FaultKind(kind)].severity,
            instance_uuid=self.guests[name].uuid,
            instance_name=name,
            host=self.host,
            raised_at=iso(ago_s),
            detail=detail,
            corrective_action="reboot" if kind == "heartbeat_lost" else "log",
            stages_ms={"last_good": -403.7, "deadline": -1.6, "detected": 0.0, "outbox": 0.8},
        )
        await self._send(self._raised[fault_id])
        return fault_id

    async def clear_fault(self, fault_id, detail="the guest answers again", ago_s=0.0):
        await self._send(
            structs.replace(
                self._raised[fault_id],
                status=FaultStatus.CLEARED,
                cleared_at=iso(ago_s),
                detail=detail,
                stages_ms={"detected": 0.0, "outbox": 0.7},
            )
        )

    async def _send(self, change):
        self._fault_seq += 1
        numbered = structs.replace(change, seq=self._fault_seq)
        sent = False
        while not sent:
            await until(lambda: self._bus.connected)
            with contextlib.suppress(BusUnavailableError):  # the controller restarts
                await self._bus.send(numbered)
                sent = True
        await until(lambda: numbered.seq in self._acknowledged)

    async def _read(self):
        async for message in self._bus.messages():
            if isinstance(message, FaultAck):
                self._acknowledged.update(message.seqs)
            elif isinstance(message, ReportRequest):
                await self.report()


class PlayedCloud:
    """`api`: more lines of the controller's [api]. Its hosts are connected once it has them."""

    def __init__(self, folder, api="", lost_after_s=0):
        self.folder = folder
        self.refused = set()  # instances whose faults the webhook refuses
        self.hosts = {}
        self._stack = AsyncExitStack()
        self._api = api
        self._lost_after_s = lost_after_s

    async def __aenter__(self):
        webhook = await asyncio.start_server(self._webhook, "127.0.0.1", 0)
        self._stack.callback(webhook.close)
        bus_port = free_port()
        self.bus_url = f"mqtt://127.0.0.1:{bus_port}"
        self._groups = self.folder / "groups.yaml"
        self._groups.write_text("{}")
        self.controller = Controller(
            self.folder / "controller",
            f"[bus]\nurl = mqtt://embedded:{bus_port}\n"
            f"[database]\nconnection = sqlite:///{self.folder}/controller.sqlite\n"
            f"[hosts]\nlost_after_s = {self._lost_after_s}\n"
            f"[groups]\nstatic_file = {self._groups}\n"
            "[sinks]\nenabled = log, webhook\n[sink_webhook]\n"
            f"url = http://127.0.0.1:{webhook.sockets[0].getsockname()[1]}/fault\n"
            f"[api]\n{self._api}",
        )
        await self.controller.start()
        self.url = f"http://127.0.0.1:{self.controller.api_port}"
        return self

    async def __aexit__(self, *error):
        await self._stack.aclose()
        if self.controller.process.returncode is None:
            await self.controller.kill()

    async def host(self, name):
        self.hosts[name] = await self._stack.enter_async_context(PlayedHost(self.bus_url, name))
        return self.hosts[name]

    async def forget(self, host):
        """It leaves for good."""
        await host.say_goodbye()
        address = f"{self.url}/v1/hosts/{host.host}"
        async with httpx.AsyncClient() as client:
            while (await client.delete(address)).status_code == 409:
                await asyncio.sleep(0.05)
        del self.hosts[host.host]

    def set_groups(self, groups):
        """{id: [guest's name, ...]}; the controller looks twice a second."""
        uuids = {name: [uuid_of(guest) for guest in guests] for name, guests in groups.items()}
        new = self._groups.with_suffix(".new")
        new.write_text(yaml.safe_dump(uuids))
        new.rename(self._groups)

    async def report(self, ago_s=0.0):
        for host in self.hosts.values():
            await host.report(ago_s)

    async def total(self, kind):
        """How many the controller knows: instances, hosts, groups."""
        summary = await self.controller.get("/v1/summary")
        return sum(summary[kind].values())

    async def _webhook(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].split("\r\n")[0])
                body = (await reader.readexactly(length)).decode()
                busy = any(one in body for one in self.refused)
                status = "503 Service Unavailable" if busy else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def fill_many(cloud, hosts, guests_each):
    """Hosts of as many guests, all told in one report each; one guest in 500 is ill."""
    for number in range(hosts):
        host = await cloud.host(f"compute-{number:03}")
        for index in range(guests_each):
            host.add(f"guest-{number:03}-{index:03}")
    await asyncio.gather(*(host.report() for host in cloud.hosts.values()))
    while await cloud.total("instances") < hosts * guests_each:
        await asyncio.sleep(0.1)
    names = [name for host in cloud.hosts.values() for name in host.guests]
    cloud.set_groups({f"group-{n:04}": names[n * 5 : n * 5 + 5] for n in range(len(names) // 5)})
    for host in list(cloud.hosts.values())[:20]:
        await host.raise_fault(next(iter(host.guests)))
    while await cloud.total("groups") < len(names) // 5:
        await asyncio.sleep(0.1)
