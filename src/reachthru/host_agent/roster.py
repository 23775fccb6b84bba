"""Every instance on this host: discovery and heartbeats come in, faults and reports go out."""

import logging
import socket
import uuid as uuids
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from reachthru.host_agent.attach import Attacher
from reachthru.host_agent.challenges import Challenges
from reachthru.host_agent.channel import Channel
from reachthru.host_agent.discovery.base import (
    PORT_SERVICES,
    Discovery,
    Port,
    Service,
    Sink,
)
from reachthru.host_agent.engine import Engine
from reachthru.host_agent.group_relay import GroupLine, GroupRelay
from reachthru.host_agent.guest_totals import GuestTotals
from reachthru.host_agent.inheritance import Inheritance
from reachthru.host_agent.instance import Instance
from reachthru.host_agent.judge import Judge
from reachthru.host_agent.ledger import Ledger
from reachthru.host_agent.outbox import Outbox
from reachthru.protocol.agent_bus import InstanceReport
from reachthru.protocol.faults import Condition, FaultStatus
from reachthru.protocol.heartbeat.events import (
    Exited,
    HealthChanged,
    HostEvent,
    Ignored,
    Registered,
    Session,
)
from reachthru.protocol.heartbeat.host import HostHeartbeat, HostPolicy
from reachthru.protocol.rate import TokenBucket

# A session of an earlier host agent has this long, or two of its intervals, for its first answer.
GRACE_S = 10.0
REGISTRATIONS_LOGGED_PER_S = 5.0
REGISTRATIONS_LOGGED_BURST = 500

_log = logging.getLogger(__name__)


class Roster(Sink):
    """Wires the parts together; on the event loop. `on_change`: a report has news."""

    def __init__(
        self,
        *,
        policy: HostPolicy,
        registration_limit_s: float,
        outbox: Outbox,
        ledger: Ledger,
        discovery: Discovery,
    ) -> None:
        self.instances: dict[str, Instance] = {}
        self.changed: set[str] = set()
        self.departed: set[str] = set()
        self.totals = GuestTotals()
        self.on_change: Callable[[], None] = lambda: None
        self._policy = policy
        self._challenges = Challenges()
        self._registrations = TokenBucket(REGISTRATIONS_LOGGED_PER_S, REGISTRATIONS_LOGGED_BURST)
        self._registration_limit_s = registration_limit_s
        self._outbox = outbox
        self._ledger = ledger
        self._discovery = discovery
        self._engine: Engine
        self._attacher: Attacher
        self._inheritance: Inheritance
        self._groups: GroupRelay

    def use(self, engine: Engine, attacher: Attacher, groups: GroupRelay) -> None:
        """To be called before anything is found."""
        self._groups = groups
        groups.declines = self._declines_messages
        self._engine = engine
        self._attacher = attacher
        self._inheritance = Inheritance(self._outbox)

    # --- what discovery says -----------------------------------------------------------------

    def found(self, uuid: str, name: str, condition: Condition, services: Service) -> None:
        instance = self.instances.get(uuid)
        if instance is None:
            instance = self.instances[uuid] = self._new_instance(uuid, name)
            self.departed.discard(uuid)
            _log.info("%s (%s): found, %s", uuid, name, condition)
        instance.name = name
        if instance.services != services:
            self._serve(instance, services)
        self.became(uuid, condition)

    def noted(self, uuid: str, note: str) -> None:
        instance = self.instances.get(uuid)
        if instance is not None and instance.note != note:
            instance.note = note
            self._settle(instance)

    def port_found(self, uuid: str, port: Port) -> None:
        instance = self.instances[uuid]
        if port.opened is False and self._inheritance.take_session(uuid, port.name):
            # Nobody knows whether its guest said goodbye: the agent was away.
            self._outbox.drop_session(uuid, port.name)
            instance.judge.forget_session(port.name)
        channel = instance.channels.get(port.name)
        if channel is None:
            core = HostHeartbeat(self._policy, self._challenges.draw)
            channel = Channel(uuid, port.name, port.dialect, core, self)
            self._equip(channel, instance)
            instance.channels[port.name] = channel
        elif self._attacher.path_of(channel) == port.path:
            self._attacher.again(channel)
            return
        else:
            self._engine.detach(channel)
        self._attacher.want(channel, port.path)

    def port_lost(self, uuid: str, port_name: str) -> None:
        instance = self.instances.get(uuid)
        channel = instance.channels.pop(port_name, None) if instance else None
        if instance is None or channel is None:
            return
        instance.judge.port_removed(port_name)
        self._end_session(instance, channel)
        self._engine.detach(channel)
        self._engine.disarm(channel)
        self._attacher.forget(channel)
        self._close_group(channel)
        self.totals.retire(channel)
        self._settle(instance)

    def port_closed(self, uuid: str, port_name: str, age_s: float = 0.0) -> None:
        instance = self.instances.get(uuid)
        channel = instance.channels.get(port_name) if instance else None
        if instance is None or channel is None:
            return
        now = self._engine.now()
        if channel.was_heard_after(now - age_s):
            return  # old news: it was opened again since then
        instance.judge.port_closed(port_name, now, now - age_s)
        self._end_session(instance, channel)
        self._settle(instance)

    def port_opened(self, uuid: str, port_name: str) -> None:
        instance = self.instances.get(uuid)
        channel = instance.channels.get(port_name) if instance else None
        if channel is not None:
            self._attacher.again(channel)

    def became(self, uuid: str, condition: Condition, detail: str = "") -> None:
        instance = self.instances.get(uuid)
        if instance is None or instance.judge.condition is condition:
            return
        instance.judge.become(condition, self._engine.now(), detail)
        if condition is Condition.SHUT_OFF:
            self._end_sessions(instance)
        self._hold_or_release(instance)
        self._settle(instance)

    def asked_to_stop(self, uuid: str) -> None:
        instance = self.instances.get(uuid)
        if instance is not None:
            instance.judge.asked_to_stop(self._engine.now())
            self._settle(instance)

    def rebooted(self, uuid: str) -> None:
        instance = self.instances.get(uuid)
        if instance is not None:
            instance.judge.rebooted(self._engine.now())
            self._end_sessions(instance)
            self._settle(instance)

    def gone(self, uuid: str, detail: str) -> None:
        instance = self.instances.get(uuid)
        if instance is not None:
            instance.judge.gone(detail, self._engine.now())
            self._end_sessions(instance)
            self._settle(instance)

    def left(self, uuid: str, detail: str) -> None:
        instance = self.instances.get(uuid)
        if instance is None:
            return
        _log.info("%s (%s): left: %s", uuid, instance.name, detail)
        instance.judge.leave(detail)
        for port_name in list(instance.channels):
            self.port_lost(uuid, port_name)
        self._settle(instance)
        self._engine.disarm(instance)
        del self.instances[uuid]
        self.changed.discard(uuid)
        self.departed.add(uuid)
        self.on_change()

    def has_session(self, uuid: str) -> bool:
        instance = self.instances.get(uuid)
        if instance is not None and instance.session is not None:
            return True
        return bool(self._inheritance.sessions(uuid))

    def synced(self, uuids: Collection[str]) -> None:
        detail = "the instance is no longer on this host"
        for uuid in set(self.instances) - set(uuids):
            self.left(uuid, detail)
        for change in list(self._outbox.active.values()):
            if change.instance_uuid not in self.instances:
                self._ledger.clear(change.fault_id, detail)
        for uuid, port_name in list(self._outbox.sessions):
            if uuid not in self.instances:
                self._outbox.drop_session(uuid, port_name)
                self._inheritance.take_session(uuid, port_name)

    # --- what connections and guests do ------------------------------------------------------

    def connected(self, channel: Channel, sock: socket.socket) -> None:
        uuid, port_name = channel.instance_uuid, channel.port_name
        channel.attach(sock)
        self._engine.attach(channel)
        self._discovery.connected(uuid, port_name)
        inherited = self._inheritance.take_session(uuid, port_name)
        if channel.core.session is not None:
            self._challenge_anew(self.instances[uuid], channel)
        elif inherited is not None:
            self._restore(self.instances[uuid], channel, inherited)

    def refused(self, channel: Channel, code: int) -> None:
        self._discovery.refused(channel.instance_uuid, channel.port_name, code)

    def hung_up(self, channel: Channel) -> None:
        self._discovery.hung_up(channel.instance_uuid, channel.port_name)
        self._attacher.again(channel)

    def heard(self, channel: Channel, events: list[HostEvent], now: float) -> None:
        instance = self.instances[channel.instance_uuid]
        for event in events:
            if isinstance(event, Ignored):
                channel.count_error("out_of_place", event.what)
                continue
            if isinstance(event, Registered):
                self._register(channel, event)
                channel.registered_at = now
                if instance.judge.excused:
                    channel.core.hold(now)
            elif isinstance(event, Exited):
                self._outbox.drop_session(instance.uuid, channel.port_name)
            elif isinstance(event, HealthChanged):
                instance.health = "healthy" if event.healthy else "unhealthy"
                instance.health_detail = event.log_msg
            instance.judge.heard(channel.port_name, event)
        self._engine.arm(channel)  # its deadline may have come nearer
        self._settle(instance)

    def channels(self) -> list[Channel]:
        return [c for instance in self.instances.values() for c in instance.channels.values()]

    def reports(self, uuids: Collection[str]) -> list[InstanceReport]:
        """How these instances are; those that have left are left out."""
        now, wall = self._engine.now(), datetime.now(UTC)
        return [self.instances[uuid].report(now, wall) for uuid in uuids if uuid in self.instances]

    # --- services ----------------------------------------------------------------------------

    def _serve(self, instance: Instance, services: Service) -> None:
        """What is asked for has changed. The guest hears of its heartbeat by a new connection."""
        said = ", ".join(service.name.lower() for service in services if service.name)
        _log.info("%s (%s): asks for %s", instance.uuid, instance.name, said)
        instance.services = services
        wanted = Service.HEARTBEAT in services
        for channel in instance.channels.values():
            self._equip(channel, instance)
        if wanted != instance.judge.watches:
            self._end_sessions(instance)
            instance.judge.watch(wanted, self._engine.now())
            for channel in instance.channels.values():
                self._engine.detach(channel)
                self._attacher.again(channel)
        self._settle(instance)

    def _equip(self, channel: Channel, instance: Instance) -> None:
        """The channel's applications are those that the instance asks for."""
        services = instance.services & PORT_SERVICES[channel.port_name]
        channel.heartbeats = Service.HEARTBEAT in services
        if Service.MESSAGES not in services:
            self._close_group(channel)
        elif channel.group is None:
            channel.group = self._groups.open(channel, instance)

    def _close_group(self, channel: Channel) -> None:
        if isinstance(channel.group, GroupLine):
            self._groups.forget(channel.group)
        channel.group = None

    def _declines_messages(self, uuid: str) -> bool:
        instance = self.instances.get(uuid)
        return instance is not None and Service.MESSAGES not in instance.services

    # --- sessions ----------------------------------------------------------------------------

    def _new_instance(self, uuid: str, name: str) -> Instance:
        judge = Judge(
            lambda: str(uuids.uuid4()),
            registration_limit_s=self._registration_limit_s,
            active=self._inheritance.take_faults(uuid),
        )
        for port_name, session in self._inheritance.sessions(uuid).items():
            judge.expect(port_name, session)
        return Instance(uuid, name, judge, self._settle)

    def _register(self, channel: Channel, event: Registered) -> None:
        session = event.session
        self._outbox.save_session(channel.instance_uuid, channel.port_name, session)
        if not self._registrations.take(self._engine.now()):
            return  # a guest that does nothing else must not fill the log
        _log.info(
            "%s: %r registered on %s, every %d ms",
            *(channel.instance_uuid, session.name, channel.port_name, session.interval_ms),
        )
        if session.asked_interval_ms < session.interval_ms:
            _log.warning(
                "%s: it asked for %d ms, less than [heartbeat] min_interval_ms; it gets %d ms",
                *(channel.instance_uuid, session.asked_interval_ms, session.interval_ms),
            )

    def _restore(self, instance: Instance, channel: Channel, session: Session) -> None:
        now = self._engine.now()
        channel.core.restore(session, now, max(GRACE_S, 2 * session.interval_ms / 1000))
        if instance.judge.excused:
            channel.core.hold(now)
        channel.settle(now)
        self._engine.arm(channel)
        self._settle(instance)

    def _challenge_anew(self, instance: Instance, channel: Channel) -> None:
        """The session goes on over a new connection, and what was sent on the old one is lost."""
        now = self._engine.now()
        channel.core.hold(now)
        if not instance.judge.excused:
            channel.core.release(now)
        channel.settle(now)
        self._engine.arm(channel)

    def _hold_or_release(self, instance: Instance) -> None:
        now = self._engine.now()
        for channel in instance.channels.values():
            if instance.judge.excused:
                channel.core.hold(now)
            else:
                channel.core.release(now)
            channel.settle(now)
            self._engine.arm(channel)

    def _end_sessions(self, instance: Instance) -> None:
        for channel in instance.channels.values():
            self._end_session(instance, channel)
        for port_name in list(self._inheritance.sessions(instance.uuid)):
            self._inheritance.take_session(instance.uuid, port_name)
            self._outbox.drop_session(instance.uuid, port_name)

    def _end_session(self, instance: Instance, channel: Channel) -> None:
        channel.core.disconnect(self._engine.now())
        self._inheritance.take_session(instance.uuid, channel.port_name)
        self._outbox.drop_session(instance.uuid, channel.port_name)
        instance.health = None
        instance.health_detail = ""

    def _settle(self, instance: Instance) -> None:
        """After anything that may have changed an instance."""
        for change in instance.judge.take_changes():
            if change.status is FaultStatus.RAISED:
                self._ledger.enter(instance.uuid, instance.name, change)
            else:
                self._ledger.clear(change.fault_id, change.fact.detail)
        self._engine.arm(instance)
        if instance.uuid in self.instances:
            self.changed.add(instance.uuid)
            self.on_change()
