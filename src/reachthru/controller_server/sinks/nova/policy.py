"""What Nova is to be asked for, because of a fault. Pure: no IO, no clock.

The fault says what is wrong, the book what was done about it already and by us, Nova how the
instance is now. A guard that says no also says why, in the operator's words.

Whoever acted on an instance since its fault came has the say: the newest of Nova's instance actions
(but for resets of its state, which touch no guest) is remembered at the first look, and when it is
another one at a later look, the fault is left alone for good. So a call that was on its way when a
controller died is not made twice either, and no two clocks are compared.
"""

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from reachthru.controller_server.model import Fault
from reachthru.protocol.faults import FaultKind, FaultStatus


class Action(StrEnum):
    RESET_STATE = "reset_state"
    REBOOT = "reboot"
    STOP = "stop"
    FORCE_DOWN = "force_down"


class DeedState(StrEnum):
    SEEN = "seen"  # wanted, and not begun
    BEGUN = "begun"  # Nova may have been asked
    DONE = "done"
    UNDONE = "undone"


CORRECTIVE = "corrective"  # reboot or stop, as the guest asks
ACTIONS = (Action.RESET_STATE.value, Action.FORCE_DOWN.value, CORRECTIVE)
UNDO = (Action.RESET_STATE.value, Action.FORCE_DOWN.value)
KINDS = tuple(kind.value for kind in FaultKind if kind is not FaultKind.HOST_LOST)
# A guest whose daemon was killed may serve on; one that never registered may know of no daemon.
USUAL_KINDS = (FaultKind.HEARTBEAT_LOST, FaultKind.UNHEALTHY, FaultKind.INSTANCE_LOST)

# How soon to look again at what is held.
LIMIT_REST_S = 15.0
BUSY_REST_S = 10.0
COMPUTE_REST_S = 5.0


class Limits(Struct, frozen=True, kw_only=True):
    """Within `window_s`: how many faults of one instance, instances at one host, instances in all
    are acted on, and how many hosts are forced down.
    """

    window_s: float
    per_instance: int
    per_host: int
    per_cloud: int
    hosts: int


class Policy(Struct, frozen=True, kw_only=True):
    """`actions` of ACTIONS, `undo` of UNDO, `kinds` of KINDS, as the operator named them.

    nova-compute must have been silent for `compute_silent_s` before its host is forced down.
    `call_s`: for so long a call may be on its way after the death of who made it.
    """

    actions: frozenset[str]
    undo: frozenset[str]
    kinds: frozenset[str]
    compute_silent_s: float
    call_s: float
    limits: Limits


class Deed(Struct, frozen=True, kw_only=True):
    """What was, or was to be, done because of a fault. `subject`: an instance's uuid, or a host.

    `marker`: Nova's newest instance action at the first look; `ours`: the one that our reset of its
    state became; `age_s`: since it was begun.
    """

    fault_id: str
    action: Action
    subject: str
    state: DeedState
    marker: str
    ours: str = ""
    age_s: float = 0.0


class Tally(Struct, frozen=True, kw_only=True):
    """Acted on within the window: other faults of this instance, other instances at its host and
    in all, and other hosts that were forced down.
    """

    of_instance: int = 0
    on_host: int = 0
    in_cloud: int = 0
    hosts: int = 0


class Book(Struct, frozen=True, kw_only=True):
    """What the database says now. `deeds`: of the fault's subject, the newest first.

    `others`: ids of the subject's other faults that are active and stand for themselves.
    """

    is_active: bool
    correlated_to: str | None = None
    deeds: tuple[Deed, ...] = ()
    others: tuple[str, ...] = ()
    tally: Tally = Tally()

    def of(self, fault_id: str) -> Iterator[Deed]:
        return (deed for deed in self.deeds if deed.fault_id == fault_id)

    def done(self, action: Action) -> Deed | None:
        """Ours, that still stands."""
        return next(
            (d for d in self.deeds if d.action is action and d.state is DeedState.DONE), None
        )


class Server(Struct, frozen=True, kw_only=True):
    """An instance as Nova has it. Its newest instance action is `newest_reset` if that is a reset
    of its state; `newest_touch` is the newest that is none. Request ids; "" where there is none.
    """

    vm_state: str
    task_state: str | None
    host: str | None
    is_locked: bool = False
    newest_reset: str = ""
    newest_touch: str = ""


class ComputeService(Struct, frozen=True, kw_only=True):
    """The nova-compute of a host; `silent_s`: since it last wrote to Nova's database."""

    id: str
    forced_down: bool
    silent_s: float


class Do(Struct, frozen=True):
    action: Action
    marker: str = ""
    undo: bool = False


class Settle(Struct, frozen=True):
    """What was begun has happened."""

    action: Action


class Hold(Struct, frozen=True):
    """Not now. `action`: what the first look was for, with its `marker`."""

    why: str
    rest_s: float
    action: Action | None = None
    marker: str = ""


class Leave(Struct, frozen=True):
    """Nothing is to be done. `why` is empty where nobody would have expected anything."""

    why: str = ""


Decision = Do | Settle | Hold | Leave


def wanted(fault: Fault, policy: Policy) -> list[Action]:
    """What the operator wants for such a fault, in order."""
    if fault.kind == FaultKind.HOST_LOST:
        return [Action.FORCE_DOWN] if Action.FORCE_DOWN in policy.actions else []
    if fault.kind not in policy.kinds:
        return []
    found = [Action.RESET_STATE] if Action.RESET_STATE in policy.actions else []
    if CORRECTIVE in policy.actions and fault.corrective_action in (Action.REBOOT, Action.STOP):
        found.append(Action(fault.corrective_action))
    return found


def before_asking(fault: Fault, policy: Policy, book: Book) -> Hold | Leave | None:
    """What needs no look at Nova; None: ask it."""
    if fault.status == FaultStatus.CLEARED:
        return _before_undoing(fault, policy, book)
    todo = _todo(fault, policy, book)
    if not todo:
        return Leave()
    if not book.is_active:
        return Leave("the fault is cleared already")
    if book.correlated_to is not None:
        return Leave(f"its host is lost, which is the fault {book.correlated_to}")
    # Where nobody has looked yet, Nova is asked once, for the marker.
    if any(book.of(fault.id)) and (why := over_limit(todo[0], policy.limits, book.tally)):
        return Hold(why, LIMIT_REST_S)
    return None


def for_instance(fault: Fault, policy: Policy, book: Book, server: Server | None) -> Decision:
    """The next step for an instance's fault."""
    if server is None:
        return Leave("Nova has no such instance")
    if fault.status == FaultStatus.CLEARED:
        return _undo_reset(book, server)
    if server.host != fault.host:
        return Leave(f"Nova has it on {server.host or 'no host'}, and the fault is of {fault.host}")
    mine = {deed.action: deed for deed in book.of(fault.id)}
    marker = next((deed.marker for deed in mine.values()), server.newest_touch)
    look = _Look(policy, book, server, mine, marker)
    for action in _todo(fault, policy, book):
        step = _step(action, look)
        if step is not None:
            return step
    return Leave()


def for_host(fault: Fault, policy: Policy, book: Book, service: ComputeService | None) -> Decision:
    """The next step for a lost host, or one that is back."""
    if service is None:
        return Leave("Nova has no nova-compute there")
    reported = f"its nova-compute reported {service.silent_s:.0f} s ago"
    if fault.status == FaultStatus.CLEARED:
        ours = book.done(Action.FORCE_DOWN)
        if ours is None or not service.forced_down:
            return Leave("it is not forced down any more")
        # Forcing it down is a write of that service, too: it says nothing of nova-compute.
        if service.silent_s > policy.compute_silent_s or ours.age_s <= policy.compute_silent_s:
            return Hold(f"{reported}: it may not be back yet", COMPUTE_REST_S)
        return Do(Action.FORCE_DOWN, undo=True)
    mine = next(book.of(fault.id), None)
    if service.forced_down:
        if mine is not None and mine.state is DeedState.BEGUN:
            return Settle(Action.FORCE_DOWN)
        return Leave("it is forced down already")
    if service.silent_s < policy.compute_silent_s:
        return Hold(f"{reported}: only our agent there is silent", COMPUTE_REST_S)
    if why := over_limit(Action.FORCE_DOWN, policy.limits, book.tally):
        return Hold(why, LIMIT_REST_S, Action.FORCE_DOWN)
    return Do(Action.FORCE_DOWN)


def over_limit(action: Action, limits: Limits, tally: Tally) -> str | None:
    """Why `action` has to wait; None: it may be done now."""
    within = f"within {limits.window_s:g} s"
    if action is Action.FORCE_DOWN:
        if tally.hosts >= limits.hosts:
            return f"limit: {tally.hosts} hosts were forced down {within} ([sink_nova] max_hosts)"
        return None
    if tally.of_instance >= limits.per_instance:
        return (
            f"limit: it was acted on for {tally.of_instance} faults {within}"
            " ([sink_nova] max_per_instance)"
        )
    if tally.on_host >= limits.per_host:
        return (
            f"limit: {tally.on_host} other instances of its host were acted on {within}"
            " ([sink_nova] max_per_host)"
        )
    if tally.in_cloud >= limits.per_cloud:
        return (
            f"limit: {tally.in_cloud} other instances were acted on {within}"
            " ([sink_nova] max_per_cloud)"
        )
    return None


def _todo(fault: Fault, policy: Policy, book: Book) -> list[Action]:
    ended = {deed.action for deed in book.of(fault.id) if deed.state in _ENDED}
    return [action for action in wanted(fault, policy) if action not in ended]


_ENDED = frozenset({DeedState.DONE, DeedState.UNDONE})


class _Look(Struct, frozen=True):
    """`mine`: what is known to have been done for this fault. `marker`: of the first look."""

    policy: Policy
    book: Book
    server: Server
    mine: dict[Action, Deed]
    marker: str


def _step(action: Action, look: _Look) -> Decision | None:
    """None: this action is not needed; the next one may be."""
    server, deed = look.server, look.mine.get(action)
    is_begun = deed is not None and deed.state is DeedState.BEGUN
    if action is Action.RESET_STATE and server.vm_state == "error":
        return Settle(action) if is_begun else None
    if server.newest_touch != look.marker:
        if is_begun and action is not Action.RESET_STATE:
            return Settle(action)
        return Leave("somebody has acted on it since")
    if server.task_state is not None:
        if server.task_state.startswith("image_"):  # a snapshot ends, and changes nothing
            return Hold(f"Nova is at it ({server.task_state})", BUSY_REST_S, action, look.marker)
        return Leave(f"Nova is at it ({server.task_state})")
    is_error_of_ours = server.vm_state == "error" and _is_ours(server, look.book)
    if server.vm_state != "active" and not is_error_of_ours:
        return Leave(f"Nova says {server.vm_state}")
    if action is not Action.RESET_STATE:
        if server.is_locked:
            return Leave("it is locked")
        if deed is not None and is_begun and deed.age_s < look.policy.call_s:
            rest_s = look.policy.call_s - deed.age_s
            return Hold("a call may still be on its way", rest_s)
    if why := over_limit(action, look.policy.limits, look.book.tally):
        return Hold(why, LIMIT_REST_S, action, look.marker)
    return Do(action, look.marker)


def _is_ours(server: Server, book: Book) -> bool:
    """Its newest instance action is our reset of its state."""
    deed = book.done(Action.RESET_STATE)
    return deed is not None and deed.ours != "" and deed.ours == server.newest_reset


def _before_undoing(fault: Fault, policy: Policy, book: Book) -> Leave | None:
    is_host = fault.kind == FaultKind.HOST_LOST
    action = Action.FORCE_DOWN if is_host else Action.RESET_STATE
    if action not in policy.undo or book.done(action) is None:
        return Leave()
    if book.others:
        return Leave(f"the fault {book.others[0]} is active")
    return None


def _undo_reset(book: Book, server: Server) -> Decision:
    if server.vm_state != "error":
        return Leave(f"Nova says {server.vm_state}")
    if server.task_state is not None or not _is_ours(server, book):
        return Leave("somebody has acted on it since")
    return Do(Action.RESET_STATE, undo=True)
