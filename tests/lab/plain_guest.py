"""A guest as others wrote it: from the wire contract, with plain json. Nothing of ours is imported.

It is the listening socket that stands for QEMU's end of its port, and keeps what it is told.
"""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROUP = "cgcs.server_grp"
HEARTBEAT = "cgcs.heartbeat"


@dataclass
class Told:
    """One message from the host, and when it came."""

    at: float
    envelope: dict[str, Any]
    size_bytes: int  # of the application message, compact

    @property
    def data(self) -> dict[str, Any]:
        return self.envelope["data"]


class PlainGuest:
    def __init__(self, uuid: str, base_version: int = 1) -> None:
        self.uuid = uuid
        self.base_version = base_version
        self.told: list[Told] = []
        self.beats = False
        self.challenges = 0
        self.connected = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.path: Path

    async def appear(self, ports: Path) -> None:
        """On the host that looks into `ports`; returns when its agent is connected."""
        self.path = ports / f"cgcs.messaging.{self.uuid}.sock"
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        await asyncio.wait_for(self.connected.wait(), 10)

    async def vanish(self, *, on_purpose: bool = True) -> None:
        """QEMU ends; the file goes, too, if somebody wanted that."""
        assert self._server is not None
        if on_purpose:
            self.path.unlink(missing_ok=True)
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.connected.clear()

    def register(self, interval_ms: int = 200) -> None:
        """Heartbeats from here on, and answers."""
        self.beats = True
        self._heartbeat(
            msg_type="init",
            invocation_id=1,
            name="plain",
            heartbeat_interval_ms=interval_ms,
            corrective_action="log",
        )

    def broadcast(self, text: str, **more: Any) -> None:
        self.send({"msg_type": "broadcast", "data": text, **more})

    def query(self, *seqs: int, source_addr: str = GROUP) -> None:
        """One query after the other, in one piece."""
        self._write(
            *(self._envelope({"msg_type": "status_query", "seq": seq}, source_addr) for seq in seqs)
        )

    def send(
        self, data: dict[str, Any], source_addr: str = GROUP, dest_addr: str = GROUP, **more: Any
    ) -> None:
        self._write(self._envelope(data, source_addr, dest_addr) | more)

    def _envelope(
        self, data: dict[str, Any], source_addr: str = GROUP, dest_addr: str = GROUP
    ) -> dict[str, Any]:
        return {
            "version": self.base_version,
            "source_addr": source_addr,
            "dest_addr": dest_addr,
            "data": data,
        }

    def _write(self, *envelopes: dict[str, Any]) -> None:
        assert self._writer is not None
        lines = (b"\n" + json.dumps(envelope).encode() + b"\n" for envelope in envelopes)
        self._writer.write(b"".join(lines))

    def of(self, msg_type: str) -> list[Told]:
        return [told for told in self.told if told.data.get("msg_type") == msg_type]

    def texts(self) -> list[str]:
        return [told.data["data"] for told in self.of("broadcast")]

    async def wait_for(self, msg_type: str, count: int = 1, timeout_s: float = 5.0) -> list[Told]:
        """The messages of a type, once there are `count`."""
        deadline = time.monotonic() + timeout_s
        while len(found := self.of(msg_type)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} {msg_type}: {self.told}"
            await asyncio.sleep(0.002)
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writer = writer
        self.connected.set()
        tail = b""
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                *lines, tail = (tail + data).split(b"\n")
                for line in lines:
                    if line:
                        self._take(line)
        writer.close()

    def deafen(self) -> None:
        """Reads nothing from now on, although it is connected."""
        assert self._writer is not None
        self._writer.transport.pause_reading()

    def hear(self) -> None:
        """Reads again."""
        assert self._writer is not None
        self._writer.transport.resume_reading()

    def _take(self, line: bytes) -> None:
        envelope = json.loads(line)
        if envelope["source_addr"] == HEARTBEAT:
            if envelope["data"]["msg_type"] == "challenge" and self.beats:
                self.challenges += 1
                self._heartbeat(
                    msg_type="challenge_response",
                    heartbeat_response=envelope["data"]["heartbeat_challenge"],
                    heartbeat_health="healthy",
                    corrective_action="log",
                )
            return
        compact = json.dumps(envelope["data"], ensure_ascii=False, separators=(",", ":"))
        self.told.append(Told(time.monotonic(), envelope, len(compact.encode())))

    def _heartbeat(self, **fields: Any) -> None:
        message = {"version": 3, "revision": 1, "sequence": 1, **fields}
        self.send(message, source_addr=HEARTBEAT, dest_addr=HEARTBEAT)
