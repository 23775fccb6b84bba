"""Maintenance windows: of what nobody is told for a while, because somebody works there. Pure.

A fault that is raised within a window is stored and shown, marked with the window's id, and no
sink is told of it. When the window is over and the fault is still there, sinks are told; when the
fault was over first, they never are. A fault of which sinks were told before is none of it: they
are told of its end, too.

Times are seconds since 1970 by the database's clock (store/clock.py), the one that all controllers
share. A window errs on the side of telling: the database's clock set forward ends it early, and
set back by more than has passed ends it at once; so none ever lasts twice as long as was asked.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

from reachthru.controller_server.model import iso

LONGEST_S = 30 * 86_400.0
# A clock that is being put right goes back a little.
CLOCK_SLACK_S = 60.0


class Scope(StrEnum):
    INSTANCE = "instance"
    HOST = "host"
    GROUP = "group"


class Window(Struct, frozen=True, kw_only=True):
    """`subject`: an instance's uuid, a host, or a group's id. `instances`: of a group.

    `ended_at` is set once it is over, `ended_by` with it where somebody ended it.
    """

    id: str
    scope: Scope
    subject: str
    instances: list[str]
    reason: str
    started_by: str
    started_at: float
    until: float
    ended_at: float | None = None
    ended_by: str | None = None

    def is_active(self, now: float) -> bool:
        left_s = self.until - now
        longest_s = self.until - self.started_at + CLOCK_SLACK_S
        return self.ended_at is None and 0 < left_s <= longest_s

    def covers(self, instance_uuid: str, host: str) -> bool:
        if self.scope is Scope.HOST:
            return self.subject == host
        if self.scope is Scope.INSTANCE:
            return self.subject == instance_uuid
        return instance_uuid in self.instances

    def __str__(self) -> str:
        return f"{self.id} of {self.scope} {self.subject}"


class Shown(Struct, kw_only=True):
    """A window as REST gives it. `state`: active, expired or ended (by `ended_by`)."""

    id: str
    scope: str
    subject: str
    instances: list[str]
    state: str
    started_at: str
    ends_at: str
    ended_at: str | None
    reason: str
    started_by: str
    ended_by: str | None


def covering(windows: Iterable[Window], instance_uuid: str, host: str) -> Window | None:
    """The one of these that lasts longest."""
    found = (window for window in windows if window.covers(instance_uuid, host))
    return max(found, key=lambda window: window.until, default=None)


def changed_groups(
    windows: Sequence[Window], members: Mapping[str, Collection[str]]
) -> dict[str, list[str]]:
    """By window: who is in its group now, where that is news. A group that is not known stays."""
    return {
        window.id: sorted(members[window.subject])
        for window in windows
        if window.scope is Scope.GROUP
        and window.subject in members
        and set(members[window.subject]) != set(window.instances)
    }


def shown(window: Window, now: float) -> Shown:
    state = "active" if window.is_active(now) else "ended" if window.ended_by else "expired"
    return Shown(
        id=window.id,
        scope=window.scope.value,
        subject=window.subject,
        instances=window.instances,
        state=state,
        started_at=_iso(window.started_at),
        ends_at=_iso(window.until),
        ended_at=None if window.ended_at is None else _iso(window.ended_at),
        reason=window.reason,
        started_by=window.started_by,
        ended_by=window.ended_by,
    )


def _iso(seconds: float) -> str:
    return iso(datetime.fromtimestamp(seconds, UTC))
