"""Nova does something about a fault: what [sink_nova] names, and nothing else.

    reset_state   the instance goes to state error, which Nova tells whoever listens (Aodh, say)
    corrective    a reboot (hard) or a stop, as the guest itself asks in such a case
    force_down    the nova-compute of a host that is lost counts as down, so that its instances may
                  be evacuated

What is decided, and why, is in policy.py; what was done is in the database (book.py), and
in the log with the fault's id. An action is taken once a fault, whatever is repeated.
"""

import logging
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from oslo_config import cfg

from reachthru.controller_server import keystone_session
from reachthru.controller_server.model import Fault, lane_of
from reachthru.controller_server.sinks.base import HeldError, NotNowError, RefusedError, Sink
from reachthru.controller_server.sinks.nova import book as nova_book
from reachthru.controller_server.sinks.nova.calls import NovaCalls
from reachthru.controller_server.sinks.nova.policy import (
    ACTIONS,
    KINDS,
    UNDO,
    USUAL_KINDS,
    Action,
    Book,
    ComputeService,
    Decision,
    Do,
    Hold,
    Leave,
    Limits,
    Policy,
    Server,
    Settle,
    before_asking,
    for_host,
    for_instance,
)
from reachthru.controller_server.store.database import Database
from reachthru.protocol.faults import FaultKind
from reachthru.service import SettingsError

_Result = TypeVar("_Result")

_TIMEOUT_S = 10.0  # of one call, where [nova] timeout is not set
_CALLS = 3  # that a delivery may have to wait for as long
_CALL_MARGIN_S = 5.0
_STEPS = 6  # of one delivery: two actions, each done and settled
_CONTENDED_REST_S = 0.2
_HELD_MAX = 10_000  # faults that are known to have been said
_SAID = {
    Action.RESET_STATE: "reset to error",
    Action.REBOOT: "hard reboot",
    Action.STOP: "stop",
    Action.FORCE_DOWN: "force-down",
}
_SAID_UNDONE = {Action.RESET_STATE: "reset to active", Action.FORCE_DOWN: "end of the force-down"}

_log = logging.getLogger(__name__)


class NovaSink(Sink):
    """`conf` has a [nova] section that keystone_session has checked."""

    name: ClassVar[str] = "nova"
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = [
        cfg.ListOpt(
            "actions",
            default=[],
            help="What may be done at all: reset_state, corrective, force_down.",
        ),
        cfg.ListOpt(
            "undo",
            default=[],
            help="What is undone once the fault is cleared, if we did it: reset_state, force_down.",
        ),
        cfg.ListOpt(
            "kinds",
            default=[kind.value for kind in USUAL_KINDS],
            help="The faults of instances that are acted on.",
        ),
        # A lost host is forced down if its nova-compute was silent for so long, too. It reports
        # each 10 s; Nova itself gives it up after 60 s.
        cfg.FloatOpt(
            "compute_silent_s",
            default=20.0,
            min=1.0,
            help="A lost host is forced down if its nova-compute was silent for so long, too.",
        ),
        cfg.FloatOpt(
            "window_s",
            default=600.0,
            min=1.0,
            help="The limits below are for so many seconds; what is more waits.",
        ),
        cfg.IntOpt(
            "max_per_instance", default=3, min=1, help="Actions on one instance within the window."
        ),
        cfg.IntOpt(
            "max_per_host",
            default=10,
            min=1,
            help="Actions on the instances of one host within the window.",
        ),
        cfg.IntOpt(
            "max_per_cloud", default=50, min=1, help="Actions on all instances within the window."
        ),
        cfg.IntOpt(
            "max_hosts", default=2, min=1, help="Hosts that are forced down within the window."
        ),
    ]
    concurrency = 8

    @classmethod
    def configured(cls, path: Path, conf: cfg.ConfigOpts) -> Self:
        section = conf.sink_nova
        for option, allowed in (("actions", ACTIONS), ("undo", UNDO), ("kinds", KINDS)):
            unknown = [name for name in section[option] if name not in allowed]
            if unknown:
                raise SettingsError(
                    f"{path}: [sink_nova] {option} = {','.join(section[option])}: no {unknown[0]!r}"
                    f" there; allowed: {', '.join(allowed)}"
                )
        if not section.actions:
            raise SettingsError(
                f"{path}: [sink_nova] actions: names none, and [sinks] enabled has nova;"
                f" allowed: {', '.join(ACTIONS)}"
            )
        if not conf.nova.notifications_url:  # else it was checked with that, and once is enough
            keystone_session.check(
                path, conf, "nova", because="since [sinks] enabled has nova", timeout_s=_TIMEOUT_S
            )
        return cls(conf)

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        section = conf.sink_nova
        self.timeout_s = conf.nova.timeout * _CALLS
        self._conf = conf
        self._held: set[str] = set()  # ids of faults
        self._policy = Policy(
            actions=frozenset(section.actions),
            undo=frozenset(section.undo),
            kinds=frozenset(section.kinds),
            compute_silent_s=section.compute_silent_s,
            call_s=conf.nova.timeout + _CALL_MARGIN_S,
            limits=Limits(
                window_s=section.window_s,
                per_instance=section.max_per_instance,
                per_host=section.max_per_host,
                per_cloud=section.max_per_cloud,
                hosts=section.max_hosts,
            ),
        )

    def remember_in(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> Self:
        self._nova = NovaCalls(self._conf)
        await self._nova.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._nova.__aexit__(*error)

    async def deliver(self, fault: Fault) -> None:
        asked: set[Action] = set()
        for _ in range(_STEPS):
            decision, target = await self._decide(fault)
            match decision:
                case Leave(why):
                    self._held.discard(fault.id)
                    if why:
                        _log.info("%s is left alone: %s [fault %s]", _named(fault), why, fault.id)
                    return
                case Hold():
                    await self._hold(fault, decision)
                case Settle(action):
                    ours = target.newest_reset if isinstance(target, Server) else ""
                    await self._write(nova_book.end, fault.id, action, ours)
                    if action not in asked:
                        _say(fault, _SAID[action], "begun before")
                case Do(action, _, True):
                    await self._undo(fault, action, target)
                case Do(action, marker):
                    await self._act(fault, action, marker, target)
                    asked.add(action)
        raise NotNowError("Nova said yes, and did nothing")

    async def _write(self, operation: Callable[..., _Result], *arguments: Any) -> _Result:
        return await self._database.write(lambda c: operation(c, *arguments))

    async def _hold(self, fault: Fault, hold: Hold) -> NoReturn:
        """Raises `HeldError`. Said once a fault; REST has the reason as it is now."""
        action, marker = hold.action, hold.marker
        if action is not None:
            await self._write(nova_book.see, fault, action, marker)
        if fault.id not in self._held:
            if len(self._held) >= _HELD_MAX:
                self._held.clear()
            self._held.add(fault.id)
            _log.warning("%s has to wait: %s [fault %s]", _named(fault), hold.why, fault.id)
        raise HeldError(hold.why, hold.rest_s)

    async def _decide(self, fault: Fault) -> tuple[Decision, Server | ComputeService | None]:
        policy = self._policy
        book: Book = await self._database.read(
            lambda c: nova_book.read_book(c, fault, policy.kinds, policy.limits.window_s)
        )
        decision = before_asking(fault, policy, book)
        if decision is not None:
            return decision, None
        if fault.kind == FaultKind.HOST_LOST:
            service = await self._nova.compute_service(fault.host)
            return for_host(fault, policy, book, service), service
        if not _is_uuid(fault.instance_uuid):
            return Leave("its id is no UUID, so it is no instance of Nova's"), None
        server = await self._nova.server(fault.instance_uuid)
        return for_instance(fault, policy, book, server), server

    async def _act(
        self, fault: Fault, action: Action, marker: str, target: Server | ComputeService | None
    ) -> None:
        """Asks Nova; the next look says whether it was done."""
        limits = self._policy.limits
        in_the_way = await self._database.write(
            lambda c: nova_book.begin(c, fault, action, marker, limits), last=True
        )
        if in_the_way is not None:
            raise HeldError(in_the_way, _CONTENDED_REST_S)
        try:
            if isinstance(target, ComputeService):
                request_id = await self._nova.force_down(target.id, down=True)
            else:
                request_id = await self._nova.act(fault.instance_uuid, action)
        except RefusedError:
            await self._write(nova_book.take_back, fault.id, action)
            raise
        _say(fault, _SAID[action], request_id)

    async def _undo(
        self, fault: Fault, action: Action, target: Server | ComputeService | None
    ) -> None:
        if isinstance(target, ComputeService):
            request_id = await self._nova.force_down(target.id, down=False)
        else:
            request_id = await self._nova.act(fault.instance_uuid, action, undo=True)
        await self._write(nova_book.undo, lane_of(fault), action)
        _say(fault, _SAID_UNDONE[action], request_id)


def _say(fault: Fault, what: str, request: str) -> None:
    _log.warning(
        "%s: %s, since %s was %s: %s [fault %s, %s]",
        _named(fault),
        what,
        fault.kind,
        fault.status,
        fault.detail or "no detail",
        fault.id,
        request,
    )


def _named(fault: Fault) -> str:
    if fault.kind == FaultKind.HOST_LOST:
        return f"host {fault.host}"
    return f"instance {fault.instance_name} ({fault.instance_uuid}) on {fault.host}"


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
