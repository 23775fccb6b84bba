"""What applications can ask at the door: a table of operations, each with its request's shape.

A request is `{"op": NAME, ...}`; an answer `{"ok": true, ...}` or `{"ok": false, "error": TEXT}`.
"""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from reachthru.guest_daemon.applications import Applications, RefusedError
from reachthru.guest_daemon.door import Answer, Connection
from reachthru.guest_daemon.health import Health
from reachthru.protocol.messages import NAME_LIMIT_CHARS, clip_text

ERROR_LIMIT_BYTES = 300


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """What every request has."""

    op: str


class Register(Request, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=NAME_LIMIT_CHARS)]
    interval_ms: Annotated[int, Meta(ge=10, le=3_600_000)]


class Beat(Request, frozen=True):
    healthy: bool = True
    log_msg: str = ""


class _AnyRequest(Struct, frozen=True):
    op: str


Handler = Callable[[Connection, Any, float], Answer | None]
_Operation = tuple[msgspec.json.Decoder[Any], Handler]


class Ops:
    """The door's listener. `on_change` is called when the verdict may be another one."""

    def __init__(
        self,
        applications: Applications,
        health: Health,
        status: Callable[[float], Answer],
        on_change: Callable[[], None],
    ) -> None:
        self._applications = applications
        self._health = health
        self._status = status
        self._on_change = on_change
        self._checking: list[tuple[Connection, dict[str, int]]] = []
        self._operations: dict[str, _Operation] = {}
        self.on_forget: Callable[[Connection], None] = lambda _connection: None
        self.add("register", Register, self._register)
        self.add("beat", Beat, self._beat)
        self.add("leave", Request, self._leave)
        self.add("status", Request, self._tell_status)
        self.add("check", Request, self._check)

    def add(self, op: str, shape: type[Struct], handler: Handler) -> None:
        """A handler that returns None answers later, by `connection.send`."""
        self._operations[op] = (msgspec.json.Decoder(shape), handler)

    # --- the door's listener -----------------------------------------------------------------

    def hear(self, connection: Connection, line: bytes, now: float) -> None:
        try:
            answer = self._answer(connection, line, now)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RefusedError) as error:
            answer = {"ok": False, "error": clip_text(str(error), ERROR_LIMIT_BYTES)}
        if answer is not None:
            connection.send(answer)

    def forget(self, connection: Connection, _now: float) -> None:
        self._checking = [one for one in self._checking if one[0] is not connection]
        self.on_forget(connection)
        self._applications.cut_off(connection.number)
        self._on_change()

    def deadline(self) -> float | None:
        return self._applications.deadline()

    def wake(self, now: float) -> None:
        self._applications.wake(now)
        self._on_change()

    # --- the operations ----------------------------------------------------------------------

    def _answer(self, connection: Connection, line: bytes, now: float) -> Answer | None:
        op = _any_decoder.decode(line).op
        operation = self._operations.get(op)
        if operation is None:
            allowed = ", ".join(self._operations)
            raise RefusedError(f"no operation {op[:NAME_LIMIT_CHARS]!r}; allowed: {allowed}")
        decoder, handler = operation
        return handler(connection, decoder.decode(line), now)

    def _register(self, connection: Connection, request: Register, now: float) -> Answer:
        self._applications.register(connection.number, request.name, request.interval_ms, now)
        self._on_change()
        return {"ok": True}

    def _beat(self, connection: Connection, request: Beat, now: float) -> Answer:
        self._applications.beat(connection.number, request.healthy, request.log_msg, now)
        self._on_change()
        return {"ok": True}

    def _leave(self, connection: Connection, _request: Request, _now: float) -> Answer:
        self._applications.leave(connection.number)
        self._on_change()
        return {"ok": True}

    def _tell_status(self, _connection: Connection, _request: Request, now: float) -> Answer:
        return {"ok": True, **self._status(now)}

    def _check(self, connection: Connection, _request: Request, now: float) -> None:
        if any(one is connection for one, _before in self._checking):
            raise RefusedError("this connection waits for a check already")
        self._checking.append((connection, self._health.run_now()))
        self.answer_checks(now)

    def answer_checks(self, now: float) -> None:
        """Answers who asked for a check, once every check has a result from after that."""
        waiting = []
        for connection, before in self._checking:
            if self._health.all_ran_since(before):
                connection.send({"ok": True, **self._status(now)})
            else:
                waiting.append((connection, before))
        self._checking = waiting


_any_decoder = msgspec.json.Decoder(_AnyRequest)
