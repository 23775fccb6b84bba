"""The demo's second part: VMs of one server group talk without a network, and hear of a death."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from reachthru.demo.errors import DemoError
from reachthru.demo.guests import DemoGuest
from reachthru.demo.scenario import Step, View
from reachthru.demo.stack import Stack

STEPS = ("broadcast", "member_lost")
SECOND_HOST = "compute-1"
_GROUP = "demo"
_TEXT = "hello, 世界"
_TIMEOUT_S = 30.0
_POLL_S = 0.02


class GroupScenario:
    """Plays all of `STEPS`: two guests on one host, one on another, and then that one dies.

    `make_guest` makes a guest, not started yet, whose port is in the folder given.
    """

    def __init__(self, stack: Stack, view: View, make_guest: Callable[[Path], DemoGuest]) -> None:
        self.steps = [Step(name) for name in STEPS]
        self.guests: list[DemoGuest] = []
        self._stack = stack
        self._view = view
        self._make_guest = make_guest

    def play(self) -> None:
        """Raises `DemoError` at the first step that is not seen."""
        broadcast, member_lost = self.steps
        with self._group() as (sender, peer, far_peer):
            self._broadcast(broadcast, sender, [peer, far_peer])
            self._lose(member_lost, far_peer, [sender, peer])

    @contextmanager
    def _group(self) -> Iterator[list[DemoGuest]]:
        """Three listening members of one group."""
        self._view.note("three VMs of one server group boot, on two hosts")
        far_ports = self._stack.add_host(SECOND_HOST)
        with ExitStack() as guests:
            for ports in (self._stack.ports, self._stack.ports, far_ports):
                guest = self._make_guest(ports)
                guests.callback(guest.close)
                self.guests.append(guest)
                guest.start()
            self._stack.use_groups({_GROUP: [guest.uuid for guest in self.guests]})
            for guest in self.guests:
                guest.wait_until_up()
                self._stack.wait_registered(guest.uuid)
                guest.listen()
            for guest in self.guests:
                guest.wait_listening()
            yield self.guests

    def _broadcast(self, step: Step, sender: DemoGuest, peers: list[DemoGuest]) -> None:
        self._view.begin(step.name, "one of three VMs broadcasts to its group")
        interfaces = [name for guest in self.guests for name in guest.network_interfaces()]
        if interfaces:
            raise DemoError(f"these guests have a network: {interfaces}")
        sent_at = sender.broadcast(_TEXT)
        heard_ms = self._wait_heard(peers, sent_at, lambda event: event.get("data") == _TEXT)
        if any(event.get("data") == _TEXT for event in sender.heard()):
            raise DemoError("the sender hears its own broadcast")
        step.ok = True
        step.consumer_ms = heard_ms
        self._view.end(step, f"both peers heard {_TEXT!r}; no NIC anywhere")

    def _lose(self, step: Step, member: DemoGuest, peers: list[DemoGuest]) -> None:
        self._view.begin(step.name, "one member's QEMU is killed")
        killed_at = member.kill()
        heard_ms = self._wait_heard(peers, killed_at, _tells_of_a_loss)
        step.ok = True
        step.consumer_ms = heard_ms
        self._view.end(step, f"both peers' applications know after {heard_ms:.0f} ms")

    def _wait_heard(
        self, guests: list[DemoGuest], since: float, wanted: Callable[[dict[str, Any]], bool]
    ) -> float:
        """Milliseconds from `since` until all of them were seen to have heard it."""
        while not all(any(map(wanted, guest.heard())) for guest in guests):
            if time.monotonic() - since > _TIMEOUT_S:
                heard = [guest.heard() for guest in guests]
                raise DemoError(f"not heard within {_TIMEOUT_S:.0f} s; instead: {heard}")
            time.sleep(_POLL_S)
        return round((time.monotonic() - since) * 1000, 1)


def _tells_of_a_loss(event: dict[str, Any]) -> bool:
    status = event.get("status") or {}
    return status.get("state") == "error"
