"""`reachthru-guest members`, `broadcast` and `listen`."""

import sys
import time

import msgspec

from reachthru.guest_daemon.arguments import Arguments
from reachthru.guest_daemon.client import Broadcast, Client, DoorError, Notification, Refused
from reachthru.guest_daemon.group.show import show_event, show_members
from reachthru.protocol.messages import BROADCAST_LIMIT_BYTES

# A host says nothing of a broadcast that it takes. It refuses within a second.
REFUSAL_WAIT_S = 1.2


def run_command(path: str, arguments: Arguments) -> int:
    """Returns the exit status. Raises `DoorError`."""
    commands = {"members": _members, "broadcast": _broadcast, "listen": _listen}
    with Client(path) as client:
        return commands[arguments.command](client, arguments)


def _members(client: Client, arguments: Arguments) -> int:
    members = client.members()
    if arguments.as_json:
        _print_json({"members": members.all, "complete": members.problem is None})
    else:
        _print(show_members(members.all))
    if members.problem is not None:
        raise DoorError(f"not all members: {members.problem}")
    return 0


def _broadcast(client: Client, arguments: Arguments) -> int:
    text = _read_text() if arguments.text == "-" else arguments.text
    broadcast_id = client.broadcast(text)
    until = time.monotonic() + REFUSAL_WAIT_S
    while (left_s := until - time.monotonic()) > 0:
        event = client.next_event(left_s)
        if isinstance(event, Refused) and event.id == broadcast_id:
            raise DoorError(f"refused by the host: {event.log_msg}")
    if arguments.as_json:
        _print_json({"sent": True, "bytes": len(text.encode())})
    return 0


def _listen(client: Client, arguments: Arguments) -> int:
    client.listen()
    heard = 0
    until = None if arguments.timeout_s is None else time.monotonic() + arguments.timeout_s
    while arguments.count is None or heard < arguments.count:
        left_s = None if until is None else until - time.monotonic()
        if left_s is not None and left_s <= 0:
            break
        event = client.next_event(left_s)
        if event is None:
            break
        heard += isinstance(event, Broadcast | Notification)
        if arguments.as_json:
            _print_json(event)
        else:
            _print(show_event(event))
    return 0 if arguments.count is None or heard >= arguments.count else 1


def _read_text() -> str:
    """Standard input, of which one newline at the end is not part of the text."""
    data = sys.stdin.buffer.read(BROADCAST_LIMIT_BYTES + 2).removesuffix(b"\n")
    if len(data) > BROADCAST_LIMIT_BYTES:
        raise DoorError(f"standard input: more than {BROADCAST_LIMIT_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DoorError(f"standard input: not UTF-8: byte {error.start + 1}") from error


def _print_json(message: object) -> None:
    """The exact text, whatever the terminal's encoding is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
