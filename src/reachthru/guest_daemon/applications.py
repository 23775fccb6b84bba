"""Applications of this VM that are part of its health. Time is an argument.

An application registers with an interval of its own and beats at least that often. One that has
not beaten for two of its intervals, that says that it is unhealthy, or that was cut off without
saying `leave`, makes the VM unhealthy: until it beats well again, or registers anew.
"""

from msgspec import Struct

from reachthru.guest_daemon.loop import earliest
from reachthru.protocol.messages import LOG_MSG_LIMIT_BYTES, clip_text

APPLICATIONS_LIMIT = 64
MISSED_INTERVALS = 2  # one beat may be late or lost


class RefusedError(Exception):
    """What an application asked for can't be; `str(error)` says why."""


class Application(Struct):
    name: str
    interval_ms: int
    owner: int | None  # the connection that registered it; None once that was cut off
    due_at: float  # unhealthy without a beat by then
    healthy: bool = True
    log_msg: str = ""
    silent: bool = False

    @property
    def problem(self) -> str | None:
        """What a challenge's answer says of it; None while it is well."""
        if self.owner is None:
            fault = "disconnected without leaving"
        elif self.silent:
            fault = f"no beat for {MISSED_INTERVALS * self.interval_ms} ms"
        elif not self.healthy:
            fault = self.log_msg or "unhealthy"
        else:
            return None
        return f"application {self.name}: {fault}"


class Applications:
    """Who is registered, by name. A connection (`owner`) registers one application."""

    def __init__(self) -> None:
        self._by_name: dict[str, Application] = {}

    def all(self) -> list[Application]:
        return list(self._by_name.values())

    def problems(self) -> list[str]:
        """What is wrong, in the order of registration."""
        return [problem for one in self._by_name.values() if (problem := one.problem) is not None]

    def register(self, owner: int, name: str, interval_ms: int, now: float) -> None:
        """In place of what this connection had registered, and of one of that name cut off."""
        holder = self._by_name.get(name)
        if holder is not None and holder.owner not in (None, owner):
            raise RefusedError(f"another connection has registered {name!r}")
        self.leave(owner)
        if name not in self._by_name and len(self._by_name) >= APPLICATIONS_LIMIT:
            self._drop_one_cut_off()
        due_at = now + MISSED_INTERVALS * interval_ms / 1000
        self._by_name[name] = Application(name, interval_ms, owner, due_at)

    def beat(self, owner: int, healthy: bool, log_msg: str, now: float) -> None:
        application = self._of(owner)
        if application is None:
            raise RefusedError("not registered; send register first")
        application.due_at = now + MISSED_INTERVALS * application.interval_ms / 1000
        application.silent = False
        application.healthy = healthy
        application.log_msg = clip_text(log_msg, LOG_MSG_LIMIT_BYTES)

    def leave(self, owner: int) -> None:
        """On purpose: it is no part of the verdict any more."""
        application = self._of(owner)
        if application is not None:
            del self._by_name[application.name]

    def cut_off(self, owner: int) -> None:
        """The connection is gone, with no word."""
        application = self._of(owner)
        if application is not None:
            application.owner = None

    def deadline(self) -> float | None:
        return earliest(
            one.due_at for one in self._by_name.values() if one.owner is not None and not one.silent
        )

    def wake(self, now: float) -> None:
        """Finds out who has not beaten in time."""
        for one in self._by_name.values():
            if now >= one.due_at:
                one.silent = True

    def _of(self, owner: int) -> Application | None:
        return next((one for one in self._by_name.values() if one.owner == owner), None)

    def _drop_one_cut_off(self) -> None:
        for name, one in self._by_name.items():
            if one.owner is None:
                del self._by_name[name]
                return
        raise RefusedError(f"{APPLICATIONS_LIMIT} applications are registered already")
