"""Domains whose flavor asks for a port that they were booted without.

Nova would give them one at their next hard reboot. Until then an operator is told, in the log
and in the instance's note; and where the operator allows it, the port is plugged in: once a
boot, into the running domain only, since its definition is Nova's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from reachthru.host_agent.discovery.libvirt.connection import LibvirtUnavailableError
from reachthru.host_agent.discovery.libvirt.domain_xml import DomainFacts
from reachthru.protocol.faults import Condition

# libvirt has 20 workers by default, and Nova needs them, too.
AT_ONCE = 2

_WAITS = "its flavor asks for a port that it does not have: a port is being plugged in"
_FORBIDDEN = (
    "its flavor asks for a port that it does not have: a hard reboot gives it one, or [libvirt]"
    " hotplug = true"
)
_IMPOSSIBLE = (
    "its flavor asks for a port that it does not have, and none can be plugged in, as it was booted"
    " without a virtio-serial controller: a hard reboot gives it one"
)
_UNPLUGGED = (
    "its flavor asks for a port, and the one that was plugged in is gone; not tried again before"
    " its next boot"
)
_FAILED = (
    "its flavor asks for a port that it does not have, and libvirt did not plug one in: {}; not"
    " tried again before its next boot"
)

_log = logging.getLogger(__name__)


class Hotplug:
    """`attach` plugs the port into a domain; `on_note` gets an instance and its note."""

    def __init__(
        self,
        *,
        allowed: bool,
        attach: Callable[[str], Awaitable[None]],
        on_note: Callable[[str, str], None],
    ) -> None:
        self._allowed = allowed
        self._attach = attach
        self._on_note = on_note
        self._places = asyncio.Semaphore(AT_ONCE)
        self._notes: dict[str, str] = {}  # of domains that lack a port, by instance
        self._attempts: dict[str, asyncio.Task[None]] = {}  # under way or over, of this boot

    def look(self, uuid: str, facts: DomainFacts, condition: Condition) -> None:
        """A domain as it is now; to be called again when that changes."""
        if not facts.lacks_port or condition in (Condition.SHUT_OFF, Condition.GONE):
            self._notes.pop(uuid, None)
            self._on_note(uuid, "")
        elif not facts.has_controller:
            self._say(uuid, facts.name, _IMPOSSIBLE)
        elif not self._allowed:
            self._say(uuid, facts.name, _FORBIDDEN)
        elif uuid in self._attempts:
            self._say(uuid, facts.name, self._notes.get(uuid, _UNPLUGGED))
        elif condition is Condition.RUNNING:  # not while it is saved, or moves
            self._say(uuid, facts.name, _WAITS)
            attempt = asyncio.get_running_loop().create_task(self._try(uuid, facts.name))
            self._attempts[uuid] = attempt

    def forget(self, uuid: str) -> None:
        """It boots anew, or is no longer here."""
        self._notes.pop(uuid, None)
        attempt = self._attempts.pop(uuid, None)
        if attempt is not None:
            attempt.cancel()

    async def _try(self, uuid: str, name: str) -> None:
        try:
            async with self._places:
                await self._attach(uuid)
        except LibvirtUnavailableError as error:
            self._say(uuid, name, _FAILED.format(error))
        # libvirt tells of a new port as of any device.

    def _say(self, uuid: str, name: str, note: str) -> None:
        if self._notes.get(uuid) != note:
            self._notes[uuid] = note
            _log.warning("%s (%s): %s", uuid, name, note)
        self._on_note(uuid, note)
