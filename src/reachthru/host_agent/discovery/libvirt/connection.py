"""One connection to libvirt: its event loop in a thread, its calls in threads, its news as calls
on our event loop.

Nothing of libvirt runs on the event loop: a call may hang for as long as libvirt tears a domain
down, or is itself stopped. The threads are daemons, so that a stop of the agent waits for none.
"""

import asyncio
import contextlib
import functools
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import libvirt
import libvirt_qemu

from reachthru.host_agent.discovery.libvirt import conditions
from reachthru.host_agent.discovery.libvirt.domain_xml import (
    NOVA_NAMESPACE,
    DomainFacts,
    channel_xml,
    read_domain,
)
from reachthru.protocol.faults import Condition

KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 3
_MONITOR_EVENTS = ("VSERPORT_CHANGE", "POWERDOWN", "MIGRATION")
# What libvirt says of a domain that ended between a look at it and the next.
_NO_DOMAIN = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)

Result = TypeVar("Result")


class LibvirtUnavailableError(Exception):
    """libvirt can't be reached, or can't be asked; one line that says why."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A domain as it was when it was looked at."""

    uuid: str
    facts: DomainFacts
    condition: Condition


class Listener(Protocol):
    """Called on the event loop."""

    def on_lifecycle(self, uuid: str, event: int, detail: int) -> None: ...

    def on_reboot(self, uuid: str) -> None: ...

    def on_changed(self, uuid: str) -> None:
        """Its devices, or what Nova says of it."""

    def on_monitor(self, uuid: str, event: str, wall_time: float, details: str) -> None: ...

    def on_lost(self) -> None: ...


class Connection:
    """`open` may be called again after `Listener.on_lost`."""

    def __init__(self, uri: str, loop: asyncio.AbstractEventLoop, listener: Listener) -> None:
        self._uri = uri
        self._loop = loop
        self._listener = listener
        self._connection: libvirt.virConnect | None = None

    async def open(self) -> None:
        """Connected, and every event from here on is told. Raises `LibvirtUnavailableError`."""
        _start_libvirt_loop()
        self._connection = await self._in_thread(self._open)

    def abandon(self) -> None:
        """It is lost, or not wanted any more. What is said on it still is not heard."""
        connection, self._connection = self._connection, None
        if connection is not None:
            threading.Thread(target=_close, args=(connection,), daemon=True).start()

    async def snapshots(self) -> list[Snapshot]:
        """All domains, running or not."""
        return await self._in_thread(self._read_all)

    async def snapshot(self, uuid: str) -> Snapshot | None:
        """None: there is no such domain (any more)."""
        return await self._in_thread(lambda: self._read_one(uuid))

    async def condition(self, uuid: str) -> Condition | None:
        """None: there is no such domain (any more)."""
        return await self._in_thread(lambda: self._read_condition(uuid))

    async def attach_port(self, uuid: str) -> None:
        """Plugs our port into a running domain, and not into its definition."""
        await self._in_thread(lambda: self._attach_port(uuid))

    # --- in a thread -------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        future: asyncio.Future[Result] = self._loop.create_future()

        def run() -> None:
            try:
                result = work()
            except libvirt.libvirtError as error:
                self._post(_fail, future, LibvirtUnavailableError(str(error)))
            except Exception as error:
                self._post(_fail, future, error)
            else:
                self._post(_succeed, future, result)

        threading.Thread(target=run, name="libvirt call", daemon=True).start()
        return await future

    def _open(self) -> libvirt.virConnect:
        connection = libvirt.open(self._uri)
        connection.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
        connection.registerCloseCallback(self._closed, None)
        for number, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._reboot),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, self._device),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._device),
            (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self._metadata),
        ):
            connection.domainEventRegisterAny(None, number, callback, None)
        for name in _MONITOR_EVENTS:
            libvirt_qemu.qemuMonitorEventRegister(connection, None, name, self._monitor, None)
        return connection

    def _read_all(self) -> list[Snapshot]:
        found = [_read(domain) for domain in self._connected().listAllDomains()]
        return [snapshot for snapshot in found if snapshot is not None]

    def _read_one(self, uuid: str) -> Snapshot | None:
        domain = self._look_up(uuid)
        return None if domain is None else _read(domain)

    def _read_condition(self, uuid: str) -> Condition | None:
        domain = self._look_up(uuid)
        if domain is None:
            return None
        condition = conditions.of_state(*domain.state())
        if condition is Condition.PAUSED_UNKNOWN:  # as in a live dump: libvirt's own job did it
            return conditions.of_job(domain.jobStats()) or condition
        return condition

    def _attach_port(self, uuid: str) -> None:
        domain = self._look_up(uuid)
        if domain is not None:
            domain.attachDeviceFlags(channel_xml(domain.name()), libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def _look_up(self, uuid: str) -> libvirt.virDomain | None:
        try:
            return self._connected().lookupByUUIDString(uuid)
        except libvirt.libvirtError as error:
            if error.get_error_code() in _NO_DOMAIN:
                return None
            raise

    def _connected(self) -> libvirt.virConnect:
        connection = self._connection
        if connection is None:
            raise LibvirtUnavailableError("the connection is lost")
        return connection

    # --- in libvirt's loop -------------------------------------------------------------------

    def _post(self, call: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # our loop is closed: the agent is stopping
            self._loop.call_soon_threadsafe(call, *arguments)

    def _lifecycle(
        self, _conn: libvirt.virConnect, domain: libvirt.virDomain, event: int, detail: int, _: Any
    ) -> None:
        self._post(self._listener.on_lifecycle, domain.UUIDString(), event, detail)

    def _reboot(self, _conn: libvirt.virConnect, domain: libvirt.virDomain, _: Any) -> None:
        self._post(self._listener.on_reboot, domain.UUIDString())

    def _device(
        self, _conn: libvirt.virConnect, domain: libvirt.virDomain, _alias: str, _: Any
    ) -> None:
        self._post(self._listener.on_changed, domain.UUIDString())

    def _metadata(
        self,
        _conn: libvirt.virConnect,
        domain: libvirt.virDomain,
        _kind: int,
        namespace: str | None,
        _: Any,
    ) -> None:
        if namespace is not None and namespace.startswith(NOVA_NAMESPACE):
            self._post(self._listener.on_changed, domain.UUIDString())

    def _monitor(
        self,
        _conn: libvirt.virConnect,
        domain: libvirt.virDomain,
        event: str,
        seconds: int,
        micros: int,
        details: str | None,
        _: Any,
    ) -> None:
        wall_time = seconds + micros / 1e6
        self._post(
            self._listener.on_monitor, domain.UUIDString(), event, wall_time, details or "{}"
        )

    def _closed(self, connection: libvirt.virConnect, _reason: int, _: Any) -> None:
        self._post(self._lose, connection)

    def _lose(self, connection: libvirt.virConnect) -> None:
        if connection is self._connection:
            self._listener.on_lost()


def _read(domain: libvirt.virDomain) -> Snapshot | None:
    try:
        facts = read_domain(domain.XMLDesc())
        return Snapshot(domain.UUIDString(), facts, conditions.of_state(*domain.state()))
    except ET.ParseError:
        return None
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_DOMAIN:
            return None
        raise


def _close(connection: libvirt.virConnect) -> None:
    with contextlib.suppress(libvirt.libvirtError):
        connection.close()


def _succeed(future: asyncio.Future[Result], result: Result) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


@functools.cache
def _start_libvirt_loop() -> None:
    """libvirt's own event loop serves all connections of a process, and must be there first."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # it prints by default
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_turn, name="libvirt events", daemon=True).start()


def _turn() -> None:
    while True:
        with contextlib.suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()
