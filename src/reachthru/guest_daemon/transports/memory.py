"""A port inside one process, for tests: `MemoryTransport`, and what a test does as its host."""

from collections.abc import Mapping

from reachthru.guest_daemon.transports.base import (
    Data,
    Failed,
    HostArrived,
    HostLeft,
    PortEvent,
    Transport,
)


class MemoryTransport(Transport):
    """`room_bytes` is what the port takes before a host that does not read blocks it."""

    def __init__(self, room_bytes: int = 1 << 20) -> None:
        self.room_bytes = room_bytes
        self._present = False
        self._events: list[PortEvent] = []
        self._written = bytearray()

    # --- the host's side ---------------------------------------------------------------------

    def arrive(self) -> None:
        self._present = True
        self._events.append(HostArrived())

    def leave(self) -> None:
        self._present = False
        self._written.clear()
        self._events.append(HostLeft())

    def fail(self, reason: str) -> None:
        self._events.append(Failed(reason))

    def send(self, data: bytes) -> None:
        self._events.append(Data(data))

    def take(self) -> bytes:
        """Reads everything that the guest has written."""
        data = bytes(self._written)
        self._written.clear()
        return data

    # --- the guest's side --------------------------------------------------------------------

    def state(self) -> str:
        return "host connected" if self._present else "open, host not connected"

    def interest(self) -> Mapping[int, int]:
        return {}

    def deadline(self) -> float | None:
        return 0.0 if self._events else None

    def step(self, _now: float) -> list[PortEvent]:
        events, self._events = self._events, []
        return events

    def write(self, data: bytes) -> int:
        if not self._present:
            return 0
        taken = data[: max(0, self.room_bytes - len(self._written))]
        self._written += taken
        return len(taken)

    def close(self) -> None:
        self._present = False
