"""`reachthru-guest check` where no daemon runs: every check once, in a loop of its own."""

import signal
from typing import Any

from reachthru.guest_daemon.applications import Applications
from reachthru.guest_daemon.health import Health, make_check
from reachthru.guest_daemon.loop import Loop, Signals
from reachthru.guest_daemon.settings import Settings
from reachthru.guest_daemon.status import describe_applications, describe_checks
from reachthru.guest_daemon.verdict import judge


def check_alone(settings: Settings) -> dict[str, Any]:
    """The health part of what the daemon's status has."""
    health = Health([make_check(check) for check in settings.checks], lambda: None)
    before = health.run_now()
    signals = Signals({signal.SIGCHLD: health.step})
    loop = Loop([signals, health])
    try:
        while not health.all_ran_since(before):
            loop.turn()
    finally:
        health.stop()
        signals.close()
    verdict = judge(health.problems())
    return {
        "ok": True,
        "healthy": verdict.healthy,
        "log_msg": verdict.log_msg,
        "checks": describe_checks(health),
        "applications": describe_applications(Applications()),
    }
