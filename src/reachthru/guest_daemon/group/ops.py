"""Server-group messaging at our own door: `broadcast`, `members` and `listen`.

Besides answers, a connection gets events, each `{"event": NAME, ...}`: `broadcast` and
`notification` once it listens, `refused` for its own broadcasts, `dropped` when it was too slow.
"""

from typing import Any

import msgspec

from reachthru.guest_daemon.applications import RefusedError
from reachthru.guest_daemon.door import Answer, Connection, encode_line
from reachthru.guest_daemon.group.relay import Relay
from reachthru.guest_daemon.ops import Ops, Request
from reachthru.protocol.messages import (
    SERVER_GROUP_ADDR,
    Broadcast,
    Notification,
    ServerGroupMessage,
    ServerGroupNack,
)

MEMBERS_LIMIT_BYTES = 768 * 1024  # of one answer


class BroadcastRequest(Request, frozen=True):
    data: str


class _Sender:
    """One connection, as the sender of its broadcasts."""

    address = SERVER_GROUP_ADDR

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell_refused(self, broadcast_id: int, log_msg: str) -> None:
        self._connection.push(encode_line(_refusal("broadcast", log_msg, broadcast_id)))


class _Asker:
    """One connection that waits for `members`."""

    address = SERVER_GROUP_ADDR
    seq: int | None = None

    def __init__(self, group: "GroupOps", connection: Connection) -> None:
        self._group = group
        self._connection = connection
        self._members: list[msgspec.Raw] = []
        self._size_bytes = 0
        self._left_out = 0

    def take_member(self, status: dict[str, Any]) -> None:
        encoded = msgspec.json.encode(status)  # a tenth of what the objects take
        if self._size_bytes + len(encoded) > MEMBERS_LIMIT_BYTES:
            self._left_out += 1
            return
        self._size_bytes += len(encoded)
        self._members.append(msgspec.Raw(encoded))

    def finish(self) -> None:
        if self._left_out:
            self._answer(f"{self._left_out} more members than fit one answer")
        else:
            self._answer(None)

    def fail(self, log_msg: str) -> None:
        """With some members known already, they are told, and that they are not all."""
        if self._members:
            self._answer(log_msg)
            return
        self._group.finished(self._connection)
        self._connection.send({"ok": False, "error": log_msg})

    def _answer(self, incomplete: str | None) -> None:
        self._group.finished(self._connection)
        answer: Answer = {"ok": True, "members": self._members, "complete": incomplete is None}
        if incomplete is not None:
            answer["error"] = incomplete
        self._connection.send(answer)


class GroupOps:
    """Adds its operations to those of the door; a hearer of the relay's."""

    def __init__(self, relay: Relay, ops: Ops) -> None:
        self._relay = relay
        self._listeners: dict[int, Connection] = {}
        self._askers: dict[int, _Asker] = {}
        relay.hearers.append(self)
        ops.add("broadcast", BroadcastRequest, self._broadcast)
        ops.add("members", Request, self._members)
        ops.add("listen", Request, self._listen)
        ops.on_forget = self._forget

    # --- the relay's hearer ------------------------------------------------------------------

    def has_audience(self) -> bool:
        return bool(self._listeners)

    def hear(self, message: ServerGroupMessage, dest_addr: str) -> None:
        if dest_addr != SERVER_GROUP_ADDR or not self._listeners:
            return
        line = encode_line(_describe(message))
        for connection in self._listeners.values():
            connection.push(line)

    def finished(self, connection: Connection) -> None:
        """An asker of this connection's has its answer."""
        self._askers.pop(connection.number, None)

    # --- the operations ----------------------------------------------------------------------

    def _broadcast(self, connection: Connection, request: BroadcastRequest, now: float) -> Answer:
        broadcast_id = self._relay.broadcast(_Sender(connection), request.data, now)
        return {"ok": True, "id": broadcast_id}

    def _members(self, connection: Connection, _request: Request, _now: float) -> None:
        if connection.number in self._askers:
            raise RefusedError("this connection waits for the members already")
        asker = _Asker(self, connection)
        self._relay.query(asker)
        self._askers[connection.number] = asker

    def _listen(self, connection: Connection, _request: Request, _now: float) -> Answer:
        self._listeners[connection.number] = connection
        return {"ok": True}

    def _forget(self, connection: Connection) -> None:
        self._listeners.pop(connection.number, None)
        asker = self._askers.pop(connection.number, None)
        if asker is not None:
            self._relay.forget_asker(asker)


def _describe(message: ServerGroupMessage) -> Answer:
    """A message of the host's as an event. Both versions' notifications look alike."""
    match message:
        case Broadcast(source_instance=source, data=text):
            return {"event": "broadcast", "source_instance": source, "data": text}
        case Notification(data={"payload": dict() as status, **more}):
            words = {key: more.get(key) for key in ("event_type", "priority", "timestamp")}
            return {"event": "notification", **words, "status": status}
        case Notification(data=status):
            words = dict.fromkeys(("event_type", "priority", "timestamp"))
            return {"event": "notification", **words, "status": status}
        case ServerGroupNack(orig_msg_type=kind, log_msg=log_msg):
            return _refusal(kind, log_msg)
    raise AssertionError(f"no hearer's message: {message}")


def _refusal(orig_msg_type: str, log_msg: str, broadcast_id: int | None = None) -> Answer:
    """`id` is None where nobody can say which message it was."""
    return {
        "event": "refused",
        "orig_msg_type": orig_msg_type,
        "id": broadcast_id,
        "log_msg": log_msg,
    }
