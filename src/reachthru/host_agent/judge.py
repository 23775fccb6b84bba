"""Which faults one instance has: pure, with time as an argument.

The judge holds *facts* ("the port closed under a session", "no answer in time") and turns them
into raises and clears. A fact that comes while the hypervisor excuses the instance is kept and
raised only if it still stands when the excuse ends. A raise and its clear carry the same id, and
there is at most one active fault of a kind.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reachthru.protocol.faults import EXCUSED, Condition, FaultKind, FaultStatus
from reachthru.protocol.heartbeat.events import (
    Alive,
    Exited,
    HealthChanged,
    HostEvent,
    Lost,
    Registered,
    Session,
)
from reachthru.protocol.messages import CorrectiveAction

# What explains a closed port (QEMU gone, a shutdown, a reset) is known within this time.
SETTLE_S = 0.030
# A guest that was asked to shut down has this long to do so; one that ignores it is not excused.
STOP_GRACE_S = 60.0
# These ask for nothing, so being unhealthy is only recorded (wire contract, section 4).
UNREPORTED_ACTIONS = (CorrectiveAction.NONE, CorrectiveAction.UNKNOWN)
# An end that came after one of these was asked for.
_ENDING = (Condition.SHUTTING_DOWN, Condition.SHUT_OFF)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is wrong. Moments are awake time."""

    detail: str
    corrective_action: CorrectiveAction = CorrectiveAction.NONE
    deadline: float | None = None
    last_good: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A fault is raised, or cleared (then `fact` says why it is over)."""

    status: FaultStatus
    kind: FaultKind
    fault_id: str
    fact: Fact


@dataclass(slots=True)
class _Closing:
    """A port that closed under a session, until it is explained or `due`."""

    due: float
    closed_at: float
    action: CorrectiveAction


class Judge:
    """One instance. `new_id` gives a fault's id; `active` are faults of an earlier host agent."""

    def __init__(
        self,
        new_id: Callable[[], str],
        *,
        registration_limit_s: float = 0.0,
        active: Iterable[tuple[FaultKind, str]] = (),
    ) -> None:
        self.condition = Condition.STARTING_UP
        self.watches = True
        self._new_id = new_id
        self._registration_limit_s = registration_limit_s
        self._registration_due: float | None = None
        self._active: dict[FaultKind, str] = dict(active)
        self._facts: dict[FaultKind, Fact] = {kind: Fact("") for kind in self._active}
        self._sessions: dict[str, CorrectiveAction] = {}  # by port, what the guest asks for
        self._silent_ports: set[str] = set()
        self._unwell_ports: set[str] = set()
        self._closing: dict[str, _Closing] = {}
        self._known = bool(self._active)  # it registered, or was seen running
        self._ever_registered = bool(self._active)
        self._registered_this_boot = False
        self._stop_asked_until = -math.inf
        self._changes: list[Change] = []

    @property
    def excused(self) -> bool:
        return self.condition in EXCUSED

    @property
    def active_kinds(self) -> frozenset[FaultKind]:
        return frozenset(self._active)

    def take_changes(self) -> list[Change]:
        changes, self._changes = self._changes, []
        return changes

    def deadline(self) -> float | None:
        dues = [closing.due for closing in self._closing.values()]
        if self._registration_due is not None:
            dues.append(self._registration_due)
        return min(dues, default=None)

    def wake(self, now: float) -> None:
        for port, closing in list(self._closing.items()):
            if now >= closing.due:
                del self._closing[port]
                self._add(
                    FaultKind.GUEST_DAEMON_LOST,
                    Fact(
                        f"{port} was closed in the guest without a goodbye",
                        closing.action,
                        deadline=closing.closed_at,
                    ),
                )
        if self._registration_due is not None and now >= self._registration_due:
            due, self._registration_due = self._registration_due, None
            limit_s = self._registration_limit_s
            self._add(
                FaultKind.NEVER_REGISTERED, Fact(f"no session within {limit_s:g} s", deadline=due)
            )

    def watch(self, wanted: bool, now: float) -> None:
        """Whether anybody asked that the guest be watched. What nobody asked for is no fault."""
        if wanted and not self.watches:
            self.watches = True
            self._count_down_to_registration(now)
        elif self.watches and not wanted:
            for kind in list(self._facts):
                self._remove(kind, "nobody asks for its heartbeat any more")
            self._end_boot()
            self._silent_ports.clear()
            self._unwell_ports.clear()
            self.watches = False

    # --- the guest ---------------------------------------------------------------------------

    def expect(self, port: str, session: Session) -> None:
        """An earlier host agent had this session, and it is taken over."""
        self._sessions[port] = CorrectiveAction.read(session.corrective_action)
        self._known = self._ever_registered = self._registered_this_boot = True
        self._registration_due = None

    def forget_session(self, port: str) -> None:
        """It ended while no host agent looked, and nobody knows how."""
        self._sessions.pop(port, None)

    def heard(self, port: str, event: HostEvent) -> None:
        """Something that the heartbeat on `port` says."""
        if isinstance(event, Lost):
            self._silent_ports.add(port)
            action = self._sessions.get(port, CorrectiveAction.NONE)
            self._add(
                FaultKind.HEARTBEAT_LOST,
                Fact(self._describe_loss(event), action, event.deadline, event.last_answer_at),
            )
        elif isinstance(event, Registered):
            self.expect(port, event.session)
            self._closing.pop(port, None)
            self._remove(FaultKind.NEVER_REGISTERED, "the guest has registered")
        elif isinstance(event, Alive):
            self._hear_alive(port)
        elif isinstance(event, HealthChanged):
            self._hear_health(port, event)
        elif isinstance(event, Exited):
            self._sessions.pop(port, None)
            self._hear_well(port, "the guest said goodbye")
            self._hear_again(port, "the guest said goodbye")

    def port_closed(self, port: str, now: float, closed_at: float) -> None:
        """The guest's end of the port was closed at `closed_at`; its session is over."""
        action = self._sessions.pop(port, None)
        if action is None or self.excused or self.condition is Condition.GONE:
            return
        if now >= self._stop_asked_until:
            self._closing[port] = _Closing(now + SETTLE_S, closed_at, action)

    def asked_to_stop(self, now: float) -> None:
        """Somebody pressed the power button: the guest may end its daemon without a goodbye."""
        self._stop_asked_until = now + STOP_GRACE_S
        self._closing.clear()

    def port_removed(self, port: str) -> None:
        """The port itself is gone: nothing that was wrong on it can get well there."""
        self._sessions.pop(port, None)
        self._closing.pop(port, None)
        self._hear_well(port, f"{port} was removed")
        self._hear_again(port, f"{port} was removed")

    def rebooted(self, now: float) -> None:
        """The machine was reset: its ports close, and that is nobody's fault."""
        self._end_boot()
        self._count_down_to_registration(now)

    # --- the hypervisor ----------------------------------------------------------------------

    def become(self, condition: Condition, now: float, detail: str = "") -> None:
        """What the hypervisor says of the instance now."""
        before, self.condition = self.condition, condition
        if condition is before:
            return
        if condition is Condition.SHUT_OFF:
            self.leave(detail or "the instance was shut off")
        elif self.excused:
            self._closing.clear()
            self._registration_due = None
        else:
            self._end_excuse(before, now)

    def gone(self, detail: str, now: float) -> None:
        """QEMU is gone, and nobody asked for it."""
        if self.condition in _ENDING:
            self.become(Condition.SHUT_OFF, now)
            return
        if self.condition is Condition.GONE:
            return
        self.condition = Condition.GONE
        action = next(iter(self._sessions.values()), CorrectiveAction.NONE)
        self._end_boot()
        if self._known:
            self._add(FaultKind.INSTANCE_LOST, Fact(detail, action, deadline=now))

    def leave(self, detail: str) -> None:
        """The instance ended as somebody asked: nothing of it is wrong any more."""
        self.condition = Condition.SHUT_OFF
        self._end_boot()
        self._known = self._ever_registered = False
        self._silent_ports.clear()
        self._unwell_ports.clear()
        for kind in list(self._facts):
            self._remove(kind, detail)

    # --- helpers -----------------------------------------------------------------------------

    def _end_boot(self) -> None:
        self._sessions.clear()
        self._closing.clear()
        self._registration_due = None
        self._registered_this_boot = False

    def _end_excuse(self, before: Condition, now: float) -> None:
        self._known = True
        if before is Condition.GONE and not self._ever_registered:
            # Nobody will answer: that it runs is all that there is to know.
            self._remove(FaultKind.INSTANCE_LOST, "the instance runs again")
        if before in EXCUSED or before is Condition.GONE:
            self._count_down_to_registration(now)
            for kind, fact in self._facts.items():
                self._raise(kind, fact)

    def _count_down_to_registration(self, now: float) -> None:
        if self._registration_limit_s <= 0 or not self.watches:
            return
        if not self._registered_this_boot and not self.excused:
            self._registration_due = now + self._registration_limit_s

    def _hear_alive(self, port: str) -> None:
        self._hear_again(port, "the guest answers again")
        self._remove(FaultKind.GUEST_DAEMON_LOST, "the guest daemon is back and answers")
        self._remove(FaultKind.INSTANCE_LOST, "the instance is back and its guest answers")

    def _hear_again(self, port: str, detail: str) -> None:
        self._silent_ports.discard(port)
        if not self._silent_ports:
            self._remove(FaultKind.HEARTBEAT_LOST, detail)

    def _hear_health(self, port: str, event: HealthChanged) -> None:
        if event.healthy:
            self._hear_well(port, "the guest says that it is healthy")
            return
        action = CorrectiveAction.read(event.corrective_action)
        if action in UNREPORTED_ACTIONS:
            return
        self._unwell_ports.add(port)
        said = event.log_msg or "no reason given"
        if event.word != "unhealthy":
            said = f"health {event.word!r}: {said}"
        self._add(FaultKind.UNHEALTHY, Fact(said, action))

    def _hear_well(self, port: str, detail: str) -> None:
        self._unwell_ports.discard(port)
        if not self._unwell_ports:
            self._remove(FaultKind.UNHEALTHY, detail)

    def _describe_loss(self, lost: Lost) -> str:
        missed = "no answer in time" if lost.misses == 1 else f"{lost.misses} answers missed"
        if lost.last_answer_at is None:
            missed += ", and none before"
        if self.condition is not Condition.RUNNING:
            missed += f"; the hypervisor says {self.condition}"
        return missed

    def _add(self, kind: FaultKind, fact: Fact) -> None:
        if self.watches and kind not in self._facts:
            self._facts[kind] = fact
            self._raise(kind, fact)

    def _raise(self, kind: FaultKind, fact: Fact) -> None:
        if self.excused or kind in self._active:
            return
        self._active[kind] = self._new_id()
        self._changes.append(Change(FaultStatus.RAISED, kind, self._active[kind], fact))

    def _remove(self, kind: FaultKind, detail: str) -> None:
        self._facts.pop(kind, None)
        fault_id = self._active.pop(kind, None)
        if fault_id is not None:
            self._changes.append(Change(FaultStatus.CLEARED, kind, fault_id, Fact(detail)))
