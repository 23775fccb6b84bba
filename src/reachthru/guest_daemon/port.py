"""One port: transport, base layer, heartbeat core and server-group relay put together.

Time is an argument. Heartbeats come before group messages: one of those is written only when
nothing else waits.
"""

from collections.abc import Callable, Collection, Mapping

from reachthru.guest_daemon.group.relay import Relay
from reachthru.guest_daemon.log import Log, PeerLog
from reachthru.guest_daemon.loop import earliest
from reachthru.guest_daemon.outbox import Outbox
from reachthru.guest_daemon.transports.base import (
    Data,
    Failed,
    HostArrived,
    HostLeft,
    Opened,
    PortEvent,
    Transport,
)
from reachthru.protocol.codec import Dialect, Received
from reachthru.protocol.errors import PeerError
from reachthru.protocol.heartbeat.events import (
    ActionNotified,
    Attached,
    GuestEvent,
    HostRefused,
    HostSilent,
)
from reachthru.protocol.heartbeat.guest import GuestHeartbeat, GuestPolicy
from reachthru.protocol.link import Link
from reachthru.protocol.messages import SERVER_GROUP_ADDR, ServerGroupHeader, ServerGroupNack


class Port:
    """Bytes in, core, bytes out. Nothing that the host sends raises out of it."""

    def __init__(
        self,
        transport: Transport,
        *,
        name: str,
        dialect: Dialect,
        policy: GuestPolicy,
        draw_id: Callable[[], int],
        relay: Relay,
        log: Log,
    ) -> None:
        self.name = name
        self.transport = transport
        self.link = Link(dialect, from_host=True)
        self.relay = relay
        self.heartbeat = GuestHeartbeat(policy, draw_id)
        self.peer_errors: dict[str, int] = {}
        self._carries_groups = dialect is Dialect.MUX
        self._outbox = Outbox(transport.write)
        self._blocked = False
        self._log = log
        self._peer_log = PeerLog(log)

    # --- what the loop asks ------------------------------------------------------------------

    def interest(self) -> Mapping[int, int]:
        return self.transport.interest()

    def deadline(self) -> float | None:
        at_once = 0.0 if self.relay.has_output and not self._blocked else None
        return earliest(
            (at_once, self.transport.deadline(), self.heartbeat.deadline(), self.relay.deadline())
        )

    def step(self, now: float, _ready: Collection[int]) -> None:
        # What has arrived comes before timers: a daemon that was stopped for a while must not
        # call a host silent whose challenges wait in the port.
        for event in self.transport.step(now):
            self._take(event, now)
        self.heartbeat.wake(now)
        self.relay.wake(now)
        self._pump(now)

    # --- the end -----------------------------------------------------------------------------

    def say_goodbye(self, log_msg: str, now: float) -> None:
        """Ends heartbeating with no fault; go on with `flush` until it is out."""
        self.heartbeat.exit(log_msg, now)
        self._pump(now)

    def flush(self) -> bool:
        """True when everything is out."""
        return self._outbox.flush()

    # --- helpers -----------------------------------------------------------------------------

    def _take(self, event: PortEvent, now: float) -> None:
        match event:
            case Data(data):
                for received in self.link.feed(data):
                    self._receive(received, now)
            case HostArrived():
                self._reset()
                self._peer_log.info(f"{self.name}: the host is there", now)
                self.heartbeat.attach(now)
                if self._carries_groups:
                    self.relay.attach()
            case HostLeft():
                self._reset()
                self._peer_log.info(f"{self.name}: the host has left", now)
                self.heartbeat.detach(now)
                self.relay.detach()
            case Opened():
                self._log.info(f"{self.name}: open")
            case Failed(reason):
                self._log.warning(f"{self.name}: {reason}; trying again every few seconds")

    def _reset(self) -> None:
        self.link.reset()
        self._outbox.clear()

    def _receive(self, received: Received | PeerError, now: float) -> None:
        if isinstance(received, PeerError):
            self._count(received.reason, str(received), now)
        elif isinstance(received.message, ServerGroupHeader):
            if isinstance(received.message, ServerGroupNack):
                self._count("refused", f"refused: {received.message.log_msg}", now)
            self.relay.receive(received, now)
        else:
            self.heartbeat.receive(received.message, now)

    def _pump(self, now: float) -> None:
        for event in self.heartbeat.take_events():
            self._tell(event, now)
        beats = self.heartbeat.take_output()
        if beats or self.relay.has_output:
            # Only in base version 2 does a notification say what happened, and when.
            self.link.least_version = 2 if self.relay.is_heard else 1
        for message in beats:
            self._outbox.put(type(message), self.link.encode(message))
        while (flushed := self._outbox.flush()) and (output := self.relay.next_output(now)):
            source_addr, group_message = output
            self._outbox.put(
                type(group_message),
                self.link.encode(group_message, SERVER_GROUP_ADDR, source_addr),
            )
        self._blocked = not flushed

    def _tell(self, event: GuestEvent, now: float) -> None:
        match event:
            case Attached():
                self._peer_log.info(f"{self.name}: registered with the host", now)
            case HostSilent(silence_s):
                self._peer_log.warning(
                    f"{self.name}: no challenge for {silence_s:g} s; registering anew", now
                )
            case HostRefused(log_msg):
                self._count("refused", f"refused: {log_msg}", now)
            case ActionNotified(event_type, notification_type, timeout_ms):
                self._peer_log.info(
                    f"{self.name}: the host announces {event_type} ({notification_type}, "
                    f"{timeout_ms} ms)",
                    now,
                )
            case _:
                self._count("ignored", f"ignored: {event.what}", now)

    def _count(self, reason: str, text: str, now: float) -> None:
        self.peer_errors[reason] = self.peer_errors.get(reason, 0) + 1
        self._peer_log.warning(f"{self.name}: from the host: {text}", now)
