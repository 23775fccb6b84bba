"""From one guest to its group's other members, a message a host; states to those who may know.

Who a message is from is what the bus says (its host) and what that host's agent reported (its
instances). Nothing here waits: what can't be carried at once or soon is lost, and counted.

Broadcasts and queries are answered by whichever controller gets them. A change of state reaches
all of them, and the one that leads tells guests.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable

from msgspec import Struct

from reachthru.bus import ControllerBus
from reachthru.controller_server.groups.agents_view import member_seen_by_agents
from reachthru.controller_server.groups.base import Group, GroupDirectory, Member, MemberChange
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.untold import Untold
from reachthru.controller_server.groups.visible import visible_status
from reachthru.controller_server.metrics import Metrics
from reachthru.protocol.agent_bus import (
    ControllerMessage,
    GroupAck,
    GroupBroadcast,
    GroupDelivery,
    GroupNotification,
    GroupQuery,
    GroupRefusal,
    GroupStatus,
)
from reachthru.protocol.group_port import NO_CONTROLLER
from reachthru.protocol.server_group import refuse_broadcast

# That a broadcast was taken is for its agent alone, which must hear of it before it tells the guest
# that there is no controller (`group_port.ANSWER_LIMIT_S`): one at a time, acknowledgements would
# be a third of all messages. A refusal is for the guest.
TAKEN_COALESCE_S = 0.2
REFUSED_COALESCE_S = 0.005
# An agent reports a new instance within 0.1 s; what the instance says before that waits for it.
EARLY_LIMIT_S = 0.5
EARLY_LIMIT = 500
NO_GROUP = "not a member of any server group"
NOT_CARRIED = "refused: the instance is not known on this host"


class _Early(Struct, frozen=True):
    """A message of an instance that its host has not reported yet."""

    host: str
    message: GroupBroadcast | GroupQuery
    until: float


class GroupRouter:
    """On the event loop. `show_hosts`: guests may know where their peers run.

    `leads` says whether this controller is the one that tells of changes.
    """

    def __init__(
        self,
        bus: ControllerBus,
        directory: GroupDirectory,
        census: Census,
        metrics: Metrics,
        *,
        show_hosts: bool,
        leads: Callable[[], bool],
    ) -> None:
        self._directory = directory
        self._census = census
        self._metrics = metrics
        self._show_hosts = show_hosts
        self._leads = leads
        self._untold = Untold()
        self._loop = asyncio.get_running_loop()
        self._bus = bus
        self._acks: dict[str, GroupAck] = {}  # by host
        self._ack_later: asyncio.TimerHandle | None = None
        self._early: list[_Early] = []
        directory.on_change = self.changed
        census.listeners.append(self._instance_changed)

    def close(self) -> None:
        """Acknowledges what was taken, while the bus is still there."""
        if self._ack_later is not None:
            self._ack_later.cancel()
            self._send_acks()

    # --- what agents say ---------------------------------------------------------------------

    def take(self, host: str, message: GroupBroadcast | GroupQuery) -> None:
        """A guest's message, which the carrier says came from `host`."""
        if not self._census.carries(host, _instance(message)):
            self._wait_for_report(host, message)
        elif isinstance(message, GroupBroadcast):
            self._broadcast(host, message)
        else:
            self._query(host, message)

    def _broadcast(self, host: str, message: GroupBroadcast) -> None:
        refusal = refuse_broadcast(message.data)
        if refusal is not None:
            self._refuse(host, message.id, refusal, "wrong")
            return
        group = self._directory.group_of(message.sender)
        sender = _member(group, message.sender)
        if group is None or sender is None:
            self._refuse_without_group(host, message.id)
            return
        self._metrics.group_message("broadcast")
        others = [member for member in group.members if member.uuid != message.sender]
        for to, recipients in self._by_host(others).items():
            self._send(
                to,
                GroupDelivery(
                    source_instance=sender.name,
                    recipients=recipients,
                    data=message.data,
                    sender_epoch=message.sender_epoch,
                    sender_seq=message.sender_seq,
                ),
            )
        self._ack(host, TAKEN_COALESCE_S).taken.append(message.id)

    def _query(self, host: str, message: GroupQuery) -> None:
        self._metrics.group_message("query")
        group = self._directory.group_of(message.asker)
        if group is None:
            members: Iterable[Member] = [
                member_seen_by_agents(message.asker, self._census, project_id=message.asker)
            ]
        else:
            members = group.members
        stale = self._directory.stale
        told = [
            visible_status(member, show_hosts=self._show_hosts, stale=stale) for member in members
        ]
        self._send(host, GroupStatus(id=message.id, members=told))

    # --- what the directory says -------------------------------------------------------------

    def changed(self, change: MemberChange) -> None:
        """A member's peers hear of its new state, from us or from whoever leads."""
        if self._leads():
            self._tell(change)
        else:
            self._untold.keep(change, self._loop.time())

    def lead(self) -> None:
        """Tells what the leader before us may not have told; agents drop what they know."""
        for change in self._untold.take():
            self._tell(change)

    def led_by_another(self, until: float) -> None:
        """Somebody led until then, by the loop's clock."""
        self._untold.told_by_another(until)

    def _tell(self, change: MemberChange) -> None:
        group = self._directory.group(change.group_id)
        if group is None:
            return
        self._metrics.group_message("notification")
        payload = visible_status(
            change.member, show_hosts=self._show_hosts, stale=self._directory.stale
        )
        peers = [member for member in group.members if member.uuid != change.member.uuid]
        for to, recipients in self._by_host(peers).items():
            self._send(
                to,
                GroupNotification(
                    recipients=recipients,
                    event_type=change.event_type,
                    priority=change.priority,
                    timestamp=change.timestamp,
                    payload=payload,
                ),
            )

    # --- instances that are not reported yet ---------------------------------------------------

    def _wait_for_report(self, host: str, message: GroupBroadcast | GroupQuery) -> None:
        if len(self._early) >= EARLY_LIMIT:
            self._refuse(host, message.id, NOT_CARRIED, "not_carried")
            return
        until = self._loop.time() + EARLY_LIMIT_S
        self._early.append(_Early(host, message, until))
        self._loop.call_at(until, self._expire_early)

    def _expire_early(self) -> None:
        now = self._loop.time()
        for early in self._take_early(lambda early: early.until <= now):
            self._refuse(early.host, early.message.id, NOT_CARRIED, "not_carried")

    def _instance_changed(self, uuid: str, _at: str) -> None:
        if self._early:
            for early in self._take_early(
                lambda early: (
                    _instance(early.message) == uuid and self._census.carries(early.host, uuid)
                )
            ):
                self.take(early.host, early.message)

    def _take_early(self, wanted: Callable[[_Early], bool]) -> list[_Early]:
        taken = [early for early in self._early if wanted(early)]
        self._early = [early for early in self._early if early not in taken]
        return taken

    # --- to agents ---------------------------------------------------------------------------

    def _by_host(self, members: Iterable[Member]) -> dict[str, list[str]]:
        """Where each of these is reached: on a host whose agent says that it has the port."""
        hosts: dict[str, list[str]] = defaultdict(list)
        for member in members:
            seen = self._census.find(member.uuid, prefer=member.host)
            if seen is None:
                self._metrics.group_loss("no_host")
            elif not self._census.is_online(seen.host):
                self._metrics.group_loss("host_offline")
            else:
                hosts[seen.host].append(member.uuid)
        return hosts

    def _send(self, host: str, message: ControllerMessage) -> None:
        if not self._bus.offer(host, message) and isinstance(
            message, GroupDelivery | GroupNotification
        ):
            self._metrics.group_loss("bus", len(message.recipients))

    def _refuse_without_group(self, host: str, number: int) -> None:
        if self._directory.stale and not self._directory.groups():
            self._refuse(host, number, NO_CONTROLLER, "groups_unknown")
        else:
            self._refuse(host, number, NO_GROUP, "no_group")

    def _refuse(self, host: str, number: int, log_msg: str, reason: str) -> None:
        self._metrics.group_refusal(reason)
        refusal = GroupRefusal(id=number, log_msg=log_msg)
        self._ack(host, REFUSED_COALESCE_S).refused.append(refusal)

    def _ack(self, host: str, within_s: float) -> GroupAck:
        """The acknowledgement that goes to `host` soon, together with others."""
        due = self._loop.time() + within_s
        if self._ack_later is None or due < self._ack_later.when():
            if self._ack_later is not None:
                self._ack_later.cancel()
            self._ack_later = self._loop.call_at(due, self._send_acks)
        return self._acks.setdefault(host, GroupAck())

    def _send_acks(self) -> None:
        self._ack_later = None
        acks, self._acks = self._acks, {}
        for host, ack in acks.items():
            self._send(host, ack)


def _instance(message: GroupBroadcast | GroupQuery) -> str:
    return message.sender if isinstance(message, GroupBroadcast) else message.asker


def _member(group: Group | None, uuid: str) -> Member | None:
    members = group.members if group is not None else ()
    return next((member for member in members if member.uuid == uuid), None)
