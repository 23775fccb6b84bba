"""The daemon: its parts wired together, run until a signal says stop."""

import select
import signal
import time

from reachthru import __version__, systemd
from reachthru.guest_daemon.applications import Applications
from reachthru.guest_daemon.door import Answer, Door
from reachthru.guest_daemon.group.datagrams import DatagramDoor
from reachthru.guest_daemon.group.ops import GroupOps
from reachthru.guest_daemon.group.relay import Relay
from reachthru.guest_daemon.health import Health, make_check
from reachthru.guest_daemon.log import Log, PeerLog
from reachthru.guest_daemon.loop import Loop, Signals
from reachthru.guest_daemon.ops import Ops
from reachthru.guest_daemon.port import Port
from reachthru.guest_daemon.settings import DEFAULT_PATH, Settings
from reachthru.guest_daemon.status import describe_applications, describe_checks, describe_port
from reachthru.guest_daemon.transports import make_transport
from reachthru.guest_daemon.verdict import Verdict, judge

GOODBYE_LONGEST_S = 0.5
# That the port is closed reaches the host by another way than its data: let the data win.
GOODBYE_LEAD_S = 0.05


class Shell:
    """One daemon. Raises `TransportUnavailableError` where its kind of port can't be had."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._verdict_log = PeerLog(log)  # an application may change its mind very often
        self._stop_reason = ""
        self._told_systemd = ""
        self._next_ping = 0.0
        self._verdict = Verdict(True, "")
        self._health = Health([make_check(check) for check in settings.checks], self._judge)
        self._applications = Applications()
        self._ops = Ops(self._applications, self._health, self._status, self._judge)
        relay = Relay(_draw_id())
        GroupOps(relay, self._ops)
        self._datagrams = DatagramDoor(relay, log)
        self._door = Door(settings.applications_socket, self._ops, log)
        self._port = Port(
            make_transport(settings.port),
            name=str(settings.port),
            dialect=settings.dialect,
            policy=settings.policy,
            draw_id=_draw_id,
            relay=relay,
            log=log,
        )

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; returns the exit status."""
        signals = Signals(
            {
                signal.SIGTERM: lambda _now: self._stop("SIGTERM"),
                signal.SIGINT: lambda _now: self._stop("SIGINT"),
                signal.SIGCHLD: self._health.step,
            }
        )
        # Health before the port, so that an answer carries what has just been found out.
        loop = Loop([signals, self._health, self._door, self._datagrams, self._port])
        self._log.info(self._greeting())
        try:
            self._port.step(time.monotonic(), ())  # the init does not wait for checks to start
            systemd.notify("READY=1")
            ping_s = systemd.watchdog_interval_s()
            while not self._stop_reason:
                loop.turn(ping_s)
                self._tell_systemd(ping_s)
            systemd.notify("STOPPING=1")
            self._say_goodbye()
        finally:
            self._health.stop()
            self._door.close()
            self._datagrams.close()
            self._port.transport.close()
            signals.close()
        self._log.info(f"stopped by {self._stop_reason}")
        return 0

    # --- helpers -----------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        self._stop_reason = reason

    def _judge(self) -> None:
        """The verdict as it is now, for the very next answer."""
        verdict = judge([*self._health.problems(), *self._applications.problems()])
        if verdict != self._verdict:
            self._verdict = verdict
            self._port.heartbeat.healthy = verdict.healthy
            self._port.heartbeat.log_msg = verdict.log_msg
            if verdict.healthy:
                self._verdict_log.info("healthy again", time.monotonic())
            else:
                self._verdict_log.warning(f"unhealthy: {verdict.log_msg}", time.monotonic())
        self._ops.answer_checks(time.monotonic())

    def _say_goodbye(self) -> None:
        now = time.monotonic()
        until = now + GOODBYE_LONGEST_S
        was_attached = self._port.heartbeat.attached
        self._port.say_goodbye(f"reachthru-guest stopped by {self._stop_reason}", now)
        while not self._port.flush() and time.monotonic() < until:
            poller = select.poll()
            for fd in self._port.interest():
                poller.register(fd, select.POLLOUT)
            poller.poll((until - time.monotonic()) * 1000)
        if was_attached:
            time.sleep(GOODBYE_LEAD_S)

    def _tell_systemd(self, ping_s: float | None) -> None:
        now = time.monotonic()
        if ping_s is not None and now >= self._next_ping:
            self._next_ping = now + ping_s / 2
            systemd.notify("WATCHDOG=1")
        registered = "registered" if self._port.heartbeat.attached else "not registered"
        text = f"{self._port.transport.state()}, {registered}; {self._verdict.log_msg or 'healthy'}"
        if text != self._told_systemd:
            self._told_systemd = text
            systemd.notify(f"STATUS={text}")

    def _status(self, now: float) -> Answer:
        return {
            "version": __version__,
            **describe_port(self._port, self._settings, now),
            "healthy": self._verdict.healthy,
            "log_msg": self._verdict.log_msg,
            "checks": describe_checks(self._health),
            "applications": describe_applications(self._applications),
        }

    def _greeting(self) -> str:
        settings = self._settings
        source = settings.path or f"the defaults (there is no {DEFAULT_PATH})"
        return (
            f"reachthru-guest {__version__}: {settings.port} ({settings.dialect}), "
            f"{settings.policy.interval_ms} ms, {len(settings.checks)} health checks, by {source}"
        )


def _draw_id() -> int:
    """Differs from one session to the next; early in a boot, os.urandom might wait for entropy."""
    return time.monotonic_ns() & 0x7FFFFFFF
