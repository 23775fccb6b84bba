"""What is known of server groups and their members, from news and snapshots. Pure.

News may be late, doubled or out of order, and the end is the same: of each instance the newest
picture of each form counts; deleted instances and groups are remembered for a while, so that
nothing late brings them back; groups only grow by news. A snapshot overrules what was heard
before it was begun, and nothing that was heard since: so it repairs whatever was lost.

A change of state is told once, under the name of the action that made it. Nova says
`instance.update` a moment before the action's end, so a change that only an update shows is held
for `HOLD_S`, and told as an update if nothing names it in that time.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from reachthru.controller_server.groups.base import Group, MemberChange
from reachthru.controller_server.nova.instance import GONE, Instance, Told
from reachthru.controller_server.nova.news import GroupNews, InstanceNews
from reachthru.controller_server.nova.words import DELETED, MOVED, QUIET, UPDATE

HOLD_S = 0.25
STRANGERS_LIMIT = 1000  # instances of no group (yet): their membership may come late
GRAVES_LIMIT = 10_000


class Server(Struct, frozen=True, kw_only=True):
    """An instance as the API shows it. `updated` is Nova's own time, ISO 8601 UTC."""

    uuid: str
    name: str | None
    status: dict[str, Any]
    updated: str


class GroupListing(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    members: Sequence[str]  # without deleted ones


class Snapshot(Struct, frozen=True, kw_only=True):
    groups: Sequence[GroupListing]
    servers: Mapping[str, Server]


class _Held(Struct):
    """A change of state that has no name yet."""

    due: float
    request_id: str | None
    stamp: str
    priority: str


class _Group:
    __slots__ = ("id", "learned_at", "members", "name")

    def __init__(self, group_id: str, now: float) -> None:
        self.id = group_id
        self.name = ""
        self.learned_at = now
        self.members: dict[str, float] = {}  # uuid: when we learned it


class Cache:
    """Every `now` is monotonic seconds. `take_changes` after each call that takes a `now`."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._group_of: dict[str, str] = {}
        self._members: dict[str, Instance] = {}
        self._strangers: OrderedDict[str, Instance] = OrderedDict()
        self._held: dict[str, _Held] = {}  # the first is due first: all are held equally long
        self._graves: OrderedDict[str, None] = OrderedDict()  # instances and groups
        self._changes: list[MemberChange] = []
        self._doubts: dict[str, None] = {}

    # --- What is known ------------------------------------------------------------------------

    def groups(self) -> list[Group]:
        return [self._view(group) for group in self._groups.values()]

    def group(self, group_id: str) -> Group | None:
        group = self._groups.get(group_id)
        return None if group is None else self._view(group)

    def group_of(self, instance_uuid: str) -> Group | None:
        instance = self._members.get(instance_uuid)
        if instance is None or not instance.visible:
            return None
        return self.group(self._group_of[instance_uuid])

    def _view(self, group: _Group) -> Group:
        instances = [self._members[uuid] for uuid in group.members]
        members = [instance.member() for instance in instances if instance.visible]
        return Group(id=group.id, name=group.name, members=members)

    def take_changes(self) -> list[MemberChange]:
        changes, self._changes = self._changes, []
        return changes

    def take_doubts(self) -> list[str]:
        """Instances of which only the API can say what is missing here."""
        doubts, self._doubts = list(self._doubts), {}
        return doubts

    def deadline(self) -> float | None:
        """When to call `wake`."""
        return next((held.due for held in self._held.values()), None)

    def wake(self, now: float) -> None:
        """Tells what was held and found no name."""
        while self._held:
            uuid, held = next(iter(self._held.items()))
            if held.due > now:
                return
            instance = self._members[uuid]
            gone = instance.state == GONE
            word = DELETED if gone else UPDATE
            self._tell(instance, word, held.request_id, held.stamp, held.priority)
            if gone:
                self._bury(uuid)

    # --- News ---------------------------------------------------------------------------------

    def hear_instance(self, news: InstanceNews, now: float) -> None:
        if news.uuid in self._graves:
            return
        instance = self._members.get(news.uuid) or self._stranger(news.uuid)
        instance.heard_at = now
        instance.call(news.name)
        instance.heard(news.form, news.stamp, news.status)
        if news.uuid in self._members:
            if instance.told_state is None:
                instance.told_state = instance.state
            if news.word not in QUIET:
                self._hear_end(instance, news)
            self._hold(instance, news.request_id, news.stamp, news.priority, now)
        if news.word == DELETED:
            self._bury(news.uuid)

    def hear_group(self, news: GroupNews, now: float) -> None:
        if news.group_id in self._graves:
            return
        if news.what == "delete":
            self._forget_group(news.group_id)
            self._dig(news.group_id)
            return
        group = self._groups.setdefault(news.group_id, _Group(news.group_id, now))
        group.name = news.name or group.name
        for uuid in news.members:
            if uuid not in group.members and uuid not in self._graves:
                self._join(group, uuid, now)
                self._doubts[uuid] = None

    def _stranger(self, uuid: str) -> Instance:
        instance = self._strangers.setdefault(uuid, Instance(uuid))
        self._strangers.move_to_end(uuid)
        if len(self._strangers) > STRANGERS_LIMIT:
            self._strangers.popitem(last=False)
        return instance

    def _hear_end(self, instance: Instance, news: InstanceNews) -> None:
        """An action ended. Told unless it is old, or the other form of what was told."""
        if news.word in MOVED or (instance.name is None and news.word != DELETED):
            self._doubts[instance.uuid] = None
        told = instance.told
        if news.stamp <= told.stamp:
            return
        same_request = news.request_id is not None and news.request_id == told.request_id
        named_late = told.word == UPDATE and instance.state == instance.told_state
        if same_request and (told.word == news.word or (named_late and news.word != DELETED)):
            told.stamp = news.stamp
            return
        self._tell(instance, news.word, news.request_id, news.stamp, news.priority)

    def _hold(
        self,
        instance: Instance,
        request_id: str | None,
        stamp: str,
        priority: str,
        now: float,
    ) -> None:
        """Keeps a change of state that nothing has named yet."""
        if instance.state == instance.told_state:
            self._held.pop(instance.uuid, None)
        elif instance.uuid not in self._held:
            self._held[instance.uuid] = _Held(now + HOLD_S, request_id, stamp, priority)

    def _tell(
        self, instance: Instance, word: str, request_id: str | None, stamp: str, priority: str
    ) -> None:
        instance.told = Told(word, request_id, max(stamp, instance.told.stamp))
        instance.told_state = instance.state
        self._held.pop(instance.uuid, None)
        self._changes.append(
            MemberChange(
                group_id=self._group_of[instance.uuid],
                member=instance.member(),
                event_type=word,
                priority=priority,
                timestamp=stamp,
            )
        )

    # --- Snapshots ----------------------------------------------------------------------------

    def see_all(self, snapshot: Snapshot, *, begun_at: float, now: float) -> None:
        """`begun_at` is when the API was first asked.

        A member that the API doesn't list is a doubt, not gone: a cell's database may be down.
        """
        listed = {group.id for group in snapshot.groups}
        for group in list(self._groups.values()):
            if group.id not in listed and group.learned_at < begun_at:
                self._forget_group(group.id)
        for listing in snapshot.groups:
            if listing.id not in self._graves:
                self._see_group(listing, begun_at, now)
        for server in snapshot.servers.values():
            self.see_server(server, begun_at=begun_at, now=now)
        unseen = [uuid for uuid, instance in self._members.items() if not instance.status]
        self._doubts.update(dict.fromkeys(unseen))

    def see_server(self, server: Server, *, begun_at: float, now: float) -> None:
        """The API's picture of one instance; it counts unless something was heard since."""
        instance = self._members.get(server.uuid)
        if instance is None:
            return
        instance.call(server.name)
        if instance.heard_at >= begun_at:
            return
        stamp = instance.seen(server.updated, server.status)
        if instance.told_state is None:
            instance.told_state = instance.state
        self._hold(instance, None, stamp, "INFO", now)

    def see_missing(self, uuid: str, *, begun_at: float, seen_at: str) -> None:
        """The API says that there is no such instance. `seen_at`: wall time, ISO 8601 UTC."""
        instance = self._members.get(uuid)
        if instance is None or instance.heard_at >= begun_at:
            return
        if instance.visible:
            instance.end()
            self._tell(instance, DELETED, None, seen_at, "INFO")
        self._bury(uuid)

    def _see_group(self, listing: GroupListing, begun_at: float, now: float) -> None:
        group = self._groups.setdefault(listing.id, _Group(listing.id, now))
        group.name = listing.name
        for uuid in listing.members:
            if uuid not in group.members and uuid not in self._graves:
                self._join(group, uuid, now)
        for uuid, learned_at in group.members.items():
            if uuid not in listing.members and learned_at < begun_at:
                self._doubts[uuid] = None

    # --- Membership ---------------------------------------------------------------------------

    def _join(self, group: _Group, uuid: str, now: float) -> None:
        earlier = self._groups.get(self._group_of.get(uuid, ""))
        if earlier is not None:
            earlier.members.pop(uuid, None)
        group.members[uuid] = now
        self._group_of[uuid] = group.id
        if uuid not in self._members:
            instance = self._strangers.pop(uuid, None) or Instance(uuid)
            self._members[uuid] = instance
            if instance.status:
                instance.told_state = instance.state

    def _forget_group(self, group_id: str) -> None:
        group = self._groups.pop(group_id, None)
        for uuid in group.members if group is not None else ():
            self._drop(uuid)

    def _bury(self, uuid: str) -> None:
        group = self._groups.get(self._group_of.get(uuid, ""))
        if group is not None:
            group.members.pop(uuid, None)
        self._drop(uuid)
        self._strangers.pop(uuid, None)
        self._dig(uuid)

    def _drop(self, uuid: str) -> None:
        self._group_of.pop(uuid, None)
        self._members.pop(uuid, None)
        self._held.pop(uuid, None)

    def _dig(self, identity: str) -> None:
        self._graves[identity] = None
        if len(self._graves) > GRAVES_LIMIT:
            self._graves.popitem(last=False)
