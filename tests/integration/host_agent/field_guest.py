"""Plays many guests as others wrote them: from the wire contract, with plain json, in one thread.

Nothing of reachthru is imported, so that a mistake of ours is not made twice. Each guest is a
listening UNIX socket `<port>.<uuid>.sock` in a folder, which stands for QEMU's end of its port.

    python field_guest.py FOLDER --count 100 --interval-ms 1000 --delay-ms 20 --seed 1

Standard output gets one JSON object a line: {"event":"ready"}, then at the end (SIGTERM, or
after --seconds) {"event":"summary", "guests":[{"uuid","challenges","answers","gaps_ms"...}]}.
Standard input takes one JSON object a line, {"do":VERB,"guests":[index, ...]} with the verbs
`hang`, `wake`, `stop_reading`, `close` (the daemon dies: the connection closes, the port stays),
`exit` (goodbye, then close), `unhealthy`, `healthy`, `vanish` (QEMU dies: no listener, the file
stays), `leave` (as asked: the file goes, too), `return`; add `"arguments":{...}` for `unhealthy`'s
corrective_action and log_msg. What they do is answered with {"event":"done","verb","at"}.
"""

import argparse
import contextlib
import heapq
import itertools
import json
import os
import random
import selectors
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MUX_PORT = "cgcs.messaging"
BARE_PORT = "cgcs.heartbeat"
HEARTBEAT = "cgcs.heartbeat"
INIT_RETRY_S = 2.0
SIGNALS_LOOKED_FOR_S = 0.2


@dataclass
class Knobs:
    """How every guest of a player behaves."""

    interval_ms: int = 1000
    delay_ms: float = 0.0  # each answer is delayed by 0..delay_ms, drawn from the seed
    base_version: int = 1
    bare: bool = False
    data_as_string: bool = False  # the envelope's data is a string that holds the JSON
    corrective_action: str = "log"
    misbehave: str = "none"  # none | hang | wrong_echo | late | flood | not_reading
    misbehave_first: int = 0  # so many guests, from the first, misbehave ...
    misbehave_after_s: float = 0.0  # ... from so long after the player's start
    flood_per_s: int = 2000
    init: bool = True  # False: the feature's port is there, and nobody ever registers


@dataclass
class Guest:
    index: int
    uuid: str
    path: Path
    listener: socket.socket | None = None
    connection: socket.socket | None = None
    tail: bytes = b""
    unsent: bytes = b""
    sequence: int = 0
    health: str = "healthy"
    corrective_action: str = "log"
    log_msg: str = ""
    misbehave: str = "none"
    acknowledged: bool = False
    acknowledged_at: float | None = None  # the first time, on the monotonic clock
    daemon_up: bool = True
    challenges: int = 0
    answers: int = 0
    nacks: int = 0
    connections: int = 0
    last_challenge_at: float | None = None
    gaps_ms: list[float] = field(default_factory=list)


class Player:
    """N guests behind one selector. `say` gets what the player tells its parent."""

    def __init__(
        self,
        folder: Path,
        uuids: list[str],
        knobs: Knobs,
        seed: int,
        say: Callable[[dict[str, Any]], None],
    ) -> None:
        self.knobs = knobs
        self.say = say
        self.chance = random.Random(seed)
        self.selector = selectors.EpollSelector()
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.stopped = False
        port = BARE_PORT if knobs.bare else MUX_PORT
        self.guests = [
            Guest(index, name, folder / f"{port}.{name}.sock") for index, name in enumerate(uuids)
        ]
        for guest in self.guests:
            guest.corrective_action = knobs.corrective_action
            self.listen(guest)
        self.after(knobs.misbehave_after_s, self.begin_misbehaviour)

    # --- time --------------------------------------------------------------------------------

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (time.monotonic() + delay_s, next(self.order), action))

    def run(self, seconds: float | None) -> None:
        if seconds is not None:
            self.after(seconds, self.stop)
        while not self.stopped:
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                heapq.heappop(self.timers)[2]()
            due = self.timers[0][0] - now if self.timers else SIGNALS_LOOKED_FOR_S
            timeout = max(0.0, min(due, SIGNALS_LOOKED_FOR_S))  # select goes on after a signal
            for key, _ in self.selector.select(timeout):
                key.data()

    def stop(self) -> None:
        self.stopped = True

    def begin_misbehaviour(self) -> None:
        for guest in self.guests[: self.knobs.misbehave_first]:
            guest.misbehave = self.knobs.misbehave
            if guest.misbehave == "flood":
                self.flood(guest)
            elif guest.misbehave == "not_reading" and guest.connection is not None:
                self.selector.unregister(guest.connection)

    # --- the port ----------------------------------------------------------------------------

    def listen(self, guest: Guest) -> None:
        guest.path.unlink(missing_ok=True)
        guest.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        guest.listener.bind(str(guest.path))
        guest.listener.listen(1)
        guest.listener.setblocking(False)
        self.selector.register(guest.listener, selectors.EVENT_READ, lambda: self.accept(guest))

    def accept(self, guest: Guest) -> None:
        assert guest.listener is not None
        connection, _ = guest.listener.accept()
        connection.setblocking(False)
        self.drop(guest)
        guest.connection = connection
        guest.tail = guest.unsent = b""
        guest.connections += 1
        guest.last_challenge_at = None
        self.selector.register(connection, selectors.EVENT_READ, lambda: self.serve(guest))
        # A guest does not see that its host is another one now: its session goes on.
        if guest.daemon_up and self.knobs.init and not guest.acknowledged:
            self.init(guest)

    def drop(self, guest: Guest) -> None:
        if guest.connection is not None:
            with contextlib.suppress(KeyError):
                self.selector.unregister(guest.connection)
            guest.connection.close()
            guest.connection = None

    def read(self, guest: Guest) -> None:
        if guest.connection is None:
            return
        try:
            data = guest.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(guest)
            return
        *lines, guest.tail = (guest.tail + data).split(b"\n")
        for line in lines:
            if line.strip():
                self.take(guest, json.loads(line))

    def send(self, guest: Guest, **fields: Any) -> None:
        guest.sequence += 1
        message = {"version": 3, "revision": 1, "sequence": guest.sequence, **fields}
        if not self.knobs.bare:
            message = {
                "version": self.knobs.base_version,
                "source_addr": HEARTBEAT,
                "dest_addr": HEARTBEAT,
                "data": json.dumps(message) if self.knobs.data_as_string else message,
            }
        self.write(guest, b"\n" + json.dumps(message).encode() + b"\n")

    def write(self, guest: Guest, data: bytes) -> None:
        """What the host does not take yet waits, as it does in a port."""
        if guest.connection is None:
            return
        guest.unsent += data
        self.flush(guest)

    def flush(self, guest: Guest) -> None:
        if guest.connection is None:
            return
        with contextlib.suppress(OSError):
            guest.unsent = guest.unsent[guest.connection.send(guest.unsent) :]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if guest.unsent else 0)
        with contextlib.suppress(KeyError):  # a guest that does not read is not watched
            if self.selector.get_key(guest.connection).events != wanted:
                self.selector.modify(guest.connection, wanted, lambda: self.serve(guest))

    def serve(self, guest: Guest) -> None:
        if guest.unsent:
            self.flush(guest)
        self.read(guest)

    # --- the daemon in the guest -------------------------------------------------------------

    def init(self, guest: Guest) -> None:
        if guest.acknowledged or guest.connection is None or not guest.daemon_up:
            return
        self.send(
            guest,
            msg_type="init",
            invocation_id=guest.index + 1,
            name=f"field-{guest.index}",
            heartbeat_interval_ms=self.knobs.interval_ms,
            vote_secs=1,
            shutdown_notice_secs=1,
            suspend_notice_secs=1,
            resume_notice_secs=1,
            restart_secs=1,
            corrective_action=guest.corrective_action,
        )
        self.after(INIT_RETRY_S, lambda: self.init(guest))

    def take(self, guest: Guest, message: dict[str, Any]) -> None:
        if not self.knobs.bare:
            message = message["data"]
        kind = message["msg_type"]
        if kind == "init_ack":
            guest.acknowledged = True
            guest.acknowledged_at = guest.acknowledged_at or time.monotonic()
        elif kind == "nack":
            guest.nacks += 1
        elif kind == "challenge" and guest.daemon_up:
            self.challenged(guest, message["heartbeat_challenge"])

    def challenged(self, guest: Guest, challenge: int) -> None:
        now = time.monotonic()
        guest.challenges += 1
        if guest.last_challenge_at is not None:
            guest.gaps_ms.append(round((now - guest.last_challenge_at) * 1000, 2))
        guest.last_challenge_at = now
        delay_s = self.chance.uniform(0, self.knobs.delay_ms) / 1000
        if guest.misbehave in ("hang", "not_reading"):
            return
        if guest.misbehave == "wrong_echo":
            challenge = challenge - 1 if challenge else 1
        elif guest.misbehave == "late":
            delay_s += self.knobs.interval_ms / 1000 * 1.5
        if delay_s > 0:
            self.after(delay_s, lambda: self.answer(guest, challenge))
        else:
            self.answer(guest, challenge)

    def answer(self, guest: Guest, challenge: int) -> None:
        if not guest.daemon_up or guest.misbehave == "hang":
            return
        guest.answers += 1
        self.send(
            guest,
            msg_type="challenge_response",
            heartbeat_response=challenge,
            heartbeat_health=guest.health,
            corrective_action=guest.corrective_action,
            log_msg=guest.log_msg,
        )

    def flood(self, guest: Guest) -> None:
        """An application that will not stop talking; the heartbeat goes on beside it."""
        if guest.misbehave != "flood":
            return
        chatter = {"msg_type": "broadcast", "data": "x" * 200}
        line = {
            "version": self.knobs.base_version,
            "source_addr": "cgcs.server_grp",
            "dest_addr": "cgcs.server_grp",
            "data": chatter,
        }
        count = 0 if guest.unsent else max(1, self.knobs.flood_per_s // 50)
        self.write(guest, (b"\n" + json.dumps(line).encode() + b"\n") * count)
        self.after(0.02, lambda: self.flood(guest))

    # --- what the parent asks for ------------------------------------------------------------

    def obey(self, line: str) -> None:
        order = json.loads(line)
        verb: Callable[..., None] = getattr(self, f"do_{order['do']}")
        at = time.monotonic()
        for index in order["guests"]:
            verb(self.guests[index], **order.get("arguments", {}))
        self.say({"event": "done", "verb": order["do"], "at": at})

    def do_hang(self, guest: Guest) -> None:
        guest.misbehave = "hang"

    def do_wake(self, guest: Guest) -> None:
        guest.misbehave = "none"

    def do_stop_reading(self, guest: Guest) -> None:
        if guest.connection is not None:
            self.selector.unregister(guest.connection)

    def do_close(self, guest: Guest) -> None:
        guest.daemon_up = False
        self.drop(guest)

    def do_open(self, guest: Guest) -> None:
        guest.daemon_up = True
        guest.acknowledged = False
        self.init(guest)

    def do_exit(self, guest: Guest, log_msg: str = "shutting down") -> None:
        self.send(guest, msg_type="exit", log_msg=log_msg)
        self.do_close(guest)

    def do_init(self, guest: Guest) -> None:
        guest.acknowledged = False
        self.init(guest)

    def do_unhealthy(self, guest: Guest, corrective_action: str = "log", log_msg: str = "") -> None:
        guest.health = "unhealthy"
        guest.corrective_action, guest.log_msg = corrective_action, log_msg

    def do_healthy(self, guest: Guest) -> None:
        guest.health, guest.log_msg = "healthy", ""

    def do_raw(self, guest: Guest, latin1: str, repeat: int = 1) -> None:
        self.write(guest, latin1.encode("latin-1") * repeat)

    def do_vanish(self, guest: Guest) -> None:
        if guest.listener is not None:
            self.selector.unregister(guest.listener)
            guest.listener.close()
            guest.listener = None
        self.drop(guest)

    def do_leave(self, guest: Guest) -> None:
        self.do_vanish(guest)
        guest.path.unlink(missing_ok=True)

    def do_return(self, guest: Guest) -> None:
        guest.acknowledged = False
        guest.daemon_up = True
        guest.misbehave = "none"
        self.listen(guest)

    def do_summary(self, _guest: Guest) -> None:
        self.say(self.summary())

    def summary(self) -> dict[str, Any]:
        keys = (
            *("uuid", "challenges", "answers", "nacks", "connections", "gaps_ms"),
            "acknowledged_at",
        )
        guests = [{key: getattr(guest, key) for key in keys} for guest in self.guests]
        return {"event": "summary", "guests": guests}


class Orders:
    """Lines from standard input, without blocking."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.tail = b""
        os.set_blocking(0, False)
        player.selector.register(0, selectors.EVENT_READ, self.read)

    def read(self) -> None:
        data = os.read(0, 65536)
        if not data:
            self.player.selector.unregister(0)
            return
        *lines, self.tail = (self.tail + data).split(b"\n")
        for line in lines:
            self.player.obey(line.decode())


def guest_uuid(seed: int, index: int) -> str:
    """The uuid of a player's guest, for parents that want to know it beforehand."""
    return str(uuid.UUID(int=(seed << 64) + index, version=4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float)
    knobs = Knobs()
    for name, value in vars(knobs).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=value)
        else:
            parser.add_argument(flag, type=type(value), default=value)
    given = parser.parse_args()
    knobs = Knobs(**{name: getattr(given, name) for name in vars(knobs)})

    def say(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    uuids = [guest_uuid(given.seed, index) for index in range(given.count)]
    player = Player(given.folder, uuids, knobs, given.seed, say)
    signal.signal(signal.SIGTERM, lambda *_: player.stop())
    with contextlib.suppress(OSError):  # /dev/null can't be polled
        Orders(player)
    say({"event": "ready", "uuids": uuids, "seed": given.seed})
    player.run(given.seconds)
    for guest in player.guests:
        guest.path.unlink(missing_ok=True)
    say(player.summary())


if __name__ == "__main__":
    main()
