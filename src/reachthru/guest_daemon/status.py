"""What `reachthru-guest status` and `check` show: as an object, and as lines for people."""

from collections.abc import Iterable
from typing import Any

from reachthru.guest_daemon.applications import Applications
from reachthru.guest_daemon.health import Health
from reachthru.guest_daemon.port import Port
from reachthru.guest_daemon.settings import Settings

Answer = dict[str, Any]


def describe_port(port: Port, settings: Settings, now: float) -> Answer:
    heartbeat = port.heartbeat
    asked_at = heartbeat.last_challenge_at
    return {
        "port": port.name,
        "dialect": str(settings.dialect),
        "port_state": port.transport.state(),
        "registered": heartbeat.attached,
        "base_version": port.link.base_version,
        "interval_ms": settings.policy.interval_ms,
        "corrective_action": str(settings.policy.corrective_action),
        "answered": heartbeat.answered,
        "last_challenge_s": None if asked_at is None else round(now - asked_at, 3),
        "peer_errors": port.peer_errors,
        "group": port.relay.counts,
        "group_is_heard": port.relay.is_heard,
    }


def describe_checks(health: Health) -> list[Answer]:
    """`healthy` is None before the first result."""
    return [
        {
            "name": check.name,
            "healthy": None if check.result is None else check.result.healthy,
            "log_msg": "" if check.result is None else check.result.log_msg,
            "runs": check.runs,
        }
        for check in health.checks
    ]


def describe_applications(applications: Applications) -> list[Answer]:
    return [
        {
            "name": one.name,
            "healthy": one.problem is None,
            "log_msg": one.problem or one.log_msg,
            "interval_ms": one.interval_ms,
        }
        for one in applications.all()
    ]


def show_status(status: Answer) -> str:
    """The whole of it, for people."""
    answered = f"{status['answered']} challenges"
    if status["last_challenge_s"] is not None:
        answered += f", the last {status['last_challenge_s']:.1f} s ago"
    rows = [
        ("port", f"{status['port']} ({status['dialect']})"),
        ("attachment", status["port_state"]),
        ("registered", "yes" if status["registered"] else "no"),
        ("interval", f"{status['interval_ms']} ms"),
        ("answered", answered),
        ("verdict", _verdict(status)),
    ]
    if status["peer_errors"]:
        counts = (f"{count} {reason}" for reason, count in status["peer_errors"].items())
        rows.append(("from the host", ", ".join(counts)))
    return "\n".join([*(f"{name:<14}{value}" for name, value in rows), *_tables(status)])


def show_check(status: Answer) -> str:
    """The health only."""
    return "\n".join([_verdict(status), *_tables(status)])


def _tables(status: Answer) -> Iterable[str]:
    for title, rows in (("CHECK", status["checks"]), ("APPLICATION", status["applications"])):
        if rows:
            width = max(len(title), *(len(row["name"]) for row in rows)) + 2
            yield ""
            yield f"{title:<{width}}{'HEALTH':<11}SAYS"
            for row in rows:
                yield f"{row['name']:<{width}}{_word(row['healthy']):<11}{row['log_msg']}".rstrip()


def _verdict(status: Answer) -> str:
    return "healthy" if status["healthy"] else f"unhealthy: {status['log_msg']}"


def _word(healthy: bool | None) -> str:
    return "no result" if healthy is None else "healthy" if healthy else "unhealthy"
