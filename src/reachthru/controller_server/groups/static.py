"""Server groups from a file, where there is no Nova: `{group id: [instance uuid, ...]}`.

Hosts and states come from what agents report. The file is read again when it changes; one that
is wrong or missing leaves the groups as they were.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import yaml
from msgspec import structs

from reachthru.controller_server.groups.agents_view import member_seen_by_agents
from reachthru.controller_server.groups.base import (
    ERROR,
    Group,
    GroupDirectory,
    Member,
    MemberChange,
    Outline,
)
from reachthru.controller_server.groups.census import Census

LOOK_PERIOD_S = 0.5
SIZE_LIMIT_BYTES = 4 * 1024 * 1024
# A fault that clears because its instance is removed is followed by that news within this: peers
# hear of a death at once, and of a recovery when it has lasted so long.
RECOVERY_S = 0.3
EVENT_TYPE = "compute.instance.update"

_Stamp = tuple[int, int, int]
_log = logging.getLogger(__name__)


class StaticFileError(Exception):
    """The file can't be used; one line for the operator."""


class StaticDirectory(GroupDirectory):
    """`path` is None where the operator named no file: then there are no groups."""

    def __init__(self, path: Path | None, census: Census) -> None:
        self._path = path
        self._census = census
        self._groups: dict[str, list[str]] = {}
        self._group_of: dict[str, str] = {}
        self._stamp: _Stamp | None = None
        self._complaint = ""
        self._told: dict[str, str] = {}  # each member's state, as its peers know it
        self._recovering: dict[str, asyncio.TimerHandle] = {}
        census.listeners.append(self._instance_changed)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            await self.refresh()

    async def ready(self) -> None:
        await self.refresh()

    async def refresh(self) -> None:
        """Reads the file, if it has changed."""
        if self._path is None:
            return
        try:
            read = await asyncio.to_thread(_read_if_new, self._path, self._stamp)
        except StaticFileError as error:
            self._complain(str(error))
            return
        if read is not None:
            self._stamp, groups = read
            self._use(groups)
            _log.info("%s: %d server groups", self._path, len(groups))
        self._complaint = ""

    @property
    def stale(self) -> bool:
        return bool(self._complaint)

    def groups(self) -> Sequence[Group]:
        return [self._group(group_id) for group_id in self._groups]

    def outlines(self) -> Sequence[Outline]:
        return [Outline(id=id, name=id, uuids=uuids) for id, uuids in self._groups.items()]

    def group(self, group_id: str) -> Group | None:
        return self._group(group_id) if group_id in self._groups else None

    def group_of(self, instance_uuid: str) -> Group | None:
        group_id = self._group_of.get(instance_uuid)
        return None if group_id is None else self._group(group_id)

    # --- the file ----------------------------------------------------------------------------

    def _use(self, groups: dict[str, list[str]]) -> None:
        self._groups = groups
        self._group_of = {uuid: group_id for group_id, uuids in groups.items() for uuid in uuids}
        self._told = {
            uuid: self._told.get(uuid) or self._member(uuid).state for uuid in self._group_of
        }

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            _log.error("[groups] static_file = %s; the groups stay as they were", text)
        self._complaint = text

    # --- members -----------------------------------------------------------------------------

    def _group(self, group_id: str) -> Group:
        members = [self._member(uuid) for uuid in self._groups[group_id]]
        names = [member.name for member in members]
        unique = [
            member if names.count(member.name) == 1 else structs.replace(member, name=member.uuid)
            for member in members
        ]
        return Group(id=group_id, name=group_id, members=unique)

    def _member(self, uuid: str) -> Member:
        # Each group stands for a project of its own: its members can't compare hosts with others.
        return member_seen_by_agents(uuid, self._census, project_id=self._group_of[uuid])

    def _instance_changed(self, uuid: str, at: str) -> None:
        if uuid not in self._group_of:
            return
        waiting = self._recovering.pop(uuid, None)
        if waiting is not None:
            waiting.cancel()
        state, told = self._member(uuid).state, self._told[uuid]
        if state == told:
            return
        if told == ERROR:
            loop = asyncio.get_running_loop()
            self._recovering[uuid] = loop.call_later(RECOVERY_S, self._tell, uuid, at)
        else:
            self._tell(uuid, at)

    def _tell(self, uuid: str, at: str) -> None:
        self._recovering.pop(uuid, None)
        if uuid not in self._group_of:
            return
        member = self._member(uuid)
        self._told[uuid] = member.state
        self.on_change(
            MemberChange(
                group_id=self._group_of[uuid],
                member=member,
                event_type=EVENT_TYPE,
                priority="ERROR" if member.state == ERROR else "INFO",
                timestamp=at,
            )
        )


def _read_if_new(path: Path, stamp: _Stamp | None) -> tuple[_Stamp, dict[str, list[str]]] | None:
    """None: it is as it was at `stamp`. Raises `StaticFileError`."""
    try:
        stat = path.stat()
        new_stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if new_stamp == stamp:
            return None
        if stat.st_size > SIZE_LIMIT_BYTES:
            raise StaticFileError(f"{path}: longer than {SIZE_LIMIT_BYTES} bytes")
        return new_stamp, parse_groups(path, path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StaticFileError(f"{path}: can't be read: {reason}") from error


def parse_groups(path: Path, text: str) -> dict[str, list[str]]:
    """Raises `StaticFileError`."""
    try:
        content = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StaticFileError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise StaticFileError(f"{path}: must be {{group id: [instance uuid, ...]}}")
    groups: dict[str, list[str]] = {}
    group_of: dict[str, str] = {}
    for key, uuids in content.items():
        group_id = str(key)
        if not isinstance(uuids, list) or not all(isinstance(uuid, str) for uuid in uuids):
            raise StaticFileError(f"{path}: group {group_id}: must be a list of instance uuids")
        for uuid in dict.fromkeys(uuids):
            if uuid in group_of:
                other = group_of[uuid]
                raise StaticFileError(
                    f"{path}: instance {uuid} is in {other} and in {group_id}; one group is allowed"
                )
            group_of[uuid] = group_id
        groups[group_id] = list(dict.fromkeys(uuids))
    return groups
