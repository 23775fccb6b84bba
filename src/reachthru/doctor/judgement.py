"""What is right and what is not, as functions of what was seen."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from reachthru.findings import Finding, ok, warning, wrong

CLOCK_WARNING_S, CLOCK_WRONG_S = 1.0, 10.0
CERTIFICATE_WARNING_DAYS = 21
# A second of an agent's lateness is a second more until a fault is found.
LATENESS_WARNING_MS = 100.0
BACKLOG_WRONG_S = 60.0
ROOM_WARNING_MB = 64
_RELEASE = re.compile(r"(\d+)\.(\d+)")


def clock(check: str, whose: str, ahead_s: float) -> Finding:
    """`ahead_s`: how far the wall clock of `whose` is ahead of this machine's; negative: behind."""
    how = f"{whose} is {_duration(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} here"
    if abs(ahead_s) < CLOCK_WARNING_S:
        return ok(check, f"{whose} and this machine agree within {CLOCK_WARNING_S:g} s")
    remedy = "run chrony (or another NTP client) on both machines; heartbeats go on meanwhile"
    judge = wrong if abs(ahead_s) >= CLOCK_WRONG_S else warning
    return judge(check, how, remedy)


def certificate(check: str, whose: str, until: datetime, now: datetime) -> Finding:
    """How long `whose` certificate is good for."""
    days = (until - now).total_seconds() / 86_400
    text = f"{whose} certificate ends on {until:%Y-%m-%d}"
    if days < 0:
        return wrong(check, f"{text}: it has expired", "renew it; the files are read anew")
    if days < CERTIFICATE_WARNING_DAYS:
        return warning(check, f"{text}, in {days:.0f} days", "renew it")
    return ok(check, text)


def release(check: str, whose: str, theirs: str, ours: str) -> Finding:
    """Agents and controllers one minor version apart work together (docs/spec/agent-bus.md)."""
    them, us = _RELEASE.match(theirs), _RELEASE.match(ours)
    if them is None or us is None:
        return warning(check, f"{whose}: version {theirs!r} is unknown", f"ours is {ours}")
    major, minor = (int(a) - int(b) for a, b in zip(them.groups(), us.groups(), strict=True))
    if major == 0 and minor == 0:
        return ok(check, f"{whose}: {theirs}")
    if major == 0 and abs(minor) == 1:
        return ok(check, f"{whose}: {theirs}, and {ours} here: they understand each other")
    older = "its package" if (major, minor) < (0, 0) else "the packages here"
    return wrong(
        check,
        f"{whose}: {theirs}, and {ours} here: only one minor version apart is understood",
        f"upgrade {older}, one minor version after the other",
    )


def host(found: Mapping[str, Any], ours: str) -> Iterator[Finding]:
    """One of `GET /v1/hosts`."""
    name = f"host {found['host']}"
    if found["state"] != "online":
        text = "its agent is offline: no controller hears it"
        remedy = "run `reachthru doctor` there; if it never returns: reachthru hosts forget"
        yield wrong(name, text, remedy)
        return
    yield release(name, "agent", str(found["agent_version"]), ours)
    if found["lateness_ms"] > LATENESS_WARNING_MS:
        text = f"its agent woke up {found['lateness_ms']:.0f} ms late: the machine is overloaded"
        yield warning(name, text, "give the agent CPU (its unit's CPUWeight), or the host less")
    if not found.get("outbox_durable", True):
        text = "its outbox can't be written: faults would be lost with the agent"
        yield wrong(name, text, "run `reachthru doctor` there")
    if found.get("clock_ms") is not None:
        judged = clock(name, "its clock", found["clock_ms"] / 1000)
        if judged.remedy:
            yield judged


def backlog(sink: str, changes: int, oldest_s: float, last_error: str | None) -> Finding:
    """What a sink still has to be told."""
    check = f"sink {sink}"
    if not changes:
        return ok(check, "has been told everything")
    text = f"{changes} changes wait for it, the oldest for {_duration(oldest_s)}"
    if last_error:
        text += f": {last_error}"
    if oldest_s < BACKLOG_WRONG_S:
        return warning(check, text, "look again in a minute")
    remedy = f"see [sink_{sink}], and who listens there; nothing is lost meanwhile"
    return wrong(check, text, remedy)


def room(check: str, path: object, free_bytes: int) -> Finding | None:
    """None: there is enough."""
    free_mb = free_bytes / 1e6
    if free_mb >= ROOM_WARNING_MB:
        return None
    return warning(check, f"{path}: {free_mb:.1f} MB are free", "make room on that file system")


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 0.95 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
