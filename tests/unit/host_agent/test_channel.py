"""What one guest may cost: everything it does is bounded, and is that guest's alone."""

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from reachthru.host_agent.channel import (
    CROWD_LINES,
    IN_TRANSIT_S,
    MESSAGE_BURST,
    READ_LIMIT_BYTES,
    UNSENT_LIMIT_BYTES,
    Channel,
)
from reachthru.protocol.codec import Dialect
from reachthru.protocol.heartbeat.events import HostEvent, Lost, Registered
from reachthru.protocol.heartbeat.host import HostHeartbeat, HostPolicy
from reachthru.protocol.link import NACK_BURST

CHALLENGE = 4711


class Guest:
    """A channel with a real socket, and the other end in the test's hand."""

    def __init__(self, dialect: Dialect = Dialect.MUX) -> None:
        self.events: list[HostEvent] = []
        self.dialect = dialect
        core = HostHeartbeat(HostPolicy(), lambda: CHALLENGE)
        self.channel = Channel("u-1", "cgcs.messaging", dialect, core, self)
        self.end, host_end = socket.socketpair()
        host_end.setblocking(False)
        self.channel.attach(host_end)

    def heard(self, channel: Channel, events: list[HostEvent], now: float) -> None:
        self.events += events

    def close(self) -> None:
        self.end.close()
        self.channel.detach()

    def wrap(self, message: dict[str, object]) -> bytes:
        if self.dialect is Dialect.MUX:
            address = "cgcs.heartbeat"
            message = {"version": 1, "source_addr": address, "dest_addr": address, "data": message}
        return b"\n" + json.dumps(message).encode() + b"\n"

    def init(self) -> bytes:
        return self.wrap(
            {
                "version": 3,
                "revision": 1,
                "msg_type": "init",
                "sequence": 1,
                "invocation_id": 9,
                "heartbeat_interval_ms": 1000,
                "name": "db",
                "corrective_action": "log",
            }
        )

    def answer(self, echo: int = CHALLENGE) -> bytes:
        return self.wrap(
            {
                "version": 3,
                "revision": 1,
                "msg_type": "challenge_response",
                "sequence": 2,
                "heartbeat_response": echo,
                "heartbeat_health": "healthy",
                "corrective_action": "log",
                "log_msg": "",
            }
        )

    def register(self, now: float = 0.0) -> None:
        self.end.sendall(self.init())
        assert self.channel.read(now)
        self.received()

    def received(self) -> list[dict[str, object]]:
        lines = self.end.recv(2**20).split(b"\n")
        found = [json.loads(line) for line in lines if line.strip()]
        return [line["data"] if self.dialect is Dialect.MUX else line for line in found]

    @property
    def errors(self) -> dict[str, int]:
        return dict(self.channel.peer_errors or {})


@pytest.fixture(params=[Dialect.MUX, Dialect.BARE])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    guest = Guest(request.param)
    yield guest
    guest.close()


def test_a_registration_is_acknowledged_and_challenged_in_one_go(guest: Guest) -> None:
    guest.end.sendall(guest.init())
    assert guest.channel.read(5.0)
    ack, challenge = guest.received()
    assert (ack["msg_type"], ack["invocation_id"]) == ("init_ack", 9)
    assert challenge["heartbeat_challenge"] == CHALLENGE
    assert isinstance(guest.events[0], Registered)


def test_the_end_of_a_connection_is_told_and_an_empty_one_is_not_an_end(guest: Guest) -> None:
    assert guest.channel.read(0.0) is True
    guest.end.close()
    assert guest.channel.read(0.0) is False


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\x00 no UTF-8\n",
        b'{"half": \n',
        b"[" * 5000 + b"]" * 5000 + b"\n",
        b'{"version":' + b"9" * 5000 + b"}\n",
        b"true\n",
        b"x" * 70_000 + b"\n",
    ],
    ids=["not-utf-8", "truncated", "deep", "huge-number", "no-object", "over-long"],
)
def test_a_bad_line_costs_that_line_only(guest: Guest, garbage: bytes) -> None:
    guest.register()
    guest.end.setblocking(False)
    for start in range(0, len(garbage), READ_LIMIT_BYTES):
        guest.end.send(garbage[start : start + READ_LIMIT_BYTES])
        assert guest.channel.read(0.1)
    guest.end.send(guest.answer())
    assert guest.channel.read(0.2)
    assert guest.channel.core.counters.answered == 1
    assert sum(guest.errors.values()) == 1


def test_messages_that_come_split_anywhere_are_put_together(guest: Guest) -> None:
    guest.register()
    for byte in guest.answer():
        guest.end.send(bytes([byte]))
        assert guest.channel.read(0.1)
    assert guest.channel.core.counters.answered == 1
    assert guest.errors == {}


def test_a_daemon_that_restarts_in_the_middle_of_a_line_registers_again(guest: Guest) -> None:
    guest.register()
    guest.end.sendall(guest.answer()[:40] + guest.init())
    assert guest.channel.read(1.0)
    assert len([event for event in guest.events if isinstance(event, Registered)]) == 2


def test_a_new_connection_owes_nothing_to_the_old_one(guest: Guest) -> None:
    guest.register()
    guest.end.sendall(b'{"half of a line')
    assert guest.channel.read(0.1)
    guest.channel.detach()
    guest.end, host_end = socket.socketpair()
    host_end.setblocking(False)
    guest.channel.attach(host_end)
    guest.end.sendall(guest.answer())
    assert guest.channel.read(0.2)
    assert guest.channel.core.counters.answered == 1


def test_a_wrong_answer_is_a_miss_and_a_late_one_undoes_none(guest: Guest) -> None:
    guest.register()
    guest.end.sendall(guest.answer(echo=CHALLENGE + 1))
    assert guest.channel.read(0.1)
    guest.channel.wake(1.0)
    assert isinstance(guest.events[-1], Lost)
    assert guest.channel.core.counters.wrong == 1


# --- floods ---------------------------------------------------------------------------------


def chatter(count: int) -> bytes:
    line = {"version": 1, "source_addr": "a", "dest_addr": "cgcs.server_grp", "data": {"x": 1}}
    return (json.dumps(line).encode() + b"\n") * count


def test_a_flood_is_cut_off_counted_and_does_not_cost_the_guest_its_heartbeat() -> None:
    guest = Guest()
    guest.register()
    for tick in range(20):
        guest.end.sendall(chatter(90))
        assert guest.channel.read(0.01 * tick)
    guest.end.sendall(chatter(50) + guest.answer() + chatter(50))
    assert guest.channel.read(0.5)
    assert guest.channel.core.counters.answered == 1
    assert guest.channel.dropped_lines > 1000
    assert guest.errors["flood"] == 1
    guest.close()


@pytest.mark.parametrize("line", [b"\n", b"x\n", b"{}\n"], ids=["empty", "short", "objects"])
def test_a_crowd_of_tiny_lines_is_skimmed_and_the_answer_in_it_is_found(line: bytes) -> None:
    guest = Guest()
    guest.register()
    crowd = line * (10 * CROWD_LINES)
    guest.end.sendall(crowd + guest.answer() + crowd)
    assert guest.channel.read(0.1)
    assert guest.channel.core.counters.answered == 1
    assert sum(guest.errors.values()) <= 3  # the flood, and what stood at the edges
    guest.close()


def test_a_line_that_ends_in_a_crowd_is_not_lost() -> None:
    guest = Guest()
    guest.register()
    answer = guest.answer()
    guest.end.sendall(answer[:30])
    assert guest.channel.read(0.1)
    guest.end.sendall(answer[30:] + b"\n" * (2 * CROWD_LINES) + guest.answer(echo=1)[:20])
    assert guest.channel.read(0.2)
    assert guest.channel.core.counters.answered == 1
    guest.close()


def test_even_answers_are_not_taken_without_end() -> None:
    guest = Guest()
    guest.register()
    for _ in range(20):
        guest.end.sendall(guest.answer(echo=1) * 50)
        assert guest.channel.read(0.1)
    counters = guest.channel.core.counters
    assert counters.wrong < MESSAGE_BURST + 200
    guest.close()


def test_one_read_takes_a_bounded_part_of_what_is_there() -> None:
    guest = Guest()
    guest.end.setblocking(False)
    sent = 0
    try:
        while True:
            sent += guest.end.send(b"x" * 65536)
    except BlockingIOError:
        pass
    assert sent > 2 * READ_LIMIT_BYTES
    assert guest.channel.read(0.0)
    remaining = 0
    assert guest.channel.sock is not None
    while True:
        try:
            remaining += len(guest.channel.sock.recv(2**20))
        except BlockingIOError:
            break
    assert remaining == sent - READ_LIMIT_BYTES
    guest.close()


# --- a guest that does not read --------------------------------------------------------------


def fill(guest: Guest) -> None:
    assert guest.channel.sock is not None
    guest.channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    try:
        while True:
            guest.channel.sock.send(b"y" * 10)
    except BlockingIOError:
        pass


def test_no_challenge_waits_for_a_guest_that_does_not_read_and_its_silence_is_a_miss() -> None:
    guest = Guest()
    guest.register()
    fill(guest)
    for second in range(1, 100):
        guest.channel.wake(float(second))
    assert any(isinstance(event, Lost) for event in guest.events)
    assert guest.channel.unsent_messages == guest.channel.core.counters.missed > 32
    assert len(guest.channel.unsent) <= UNSENT_LIMIT_BYTES
    guest.close()


def test_a_guest_that_reads_again_gets_whole_lines_only() -> None:
    guest = Guest(Dialect.BARE)
    guest.register()
    assert guest.channel.sock is not None
    guest.channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for second in range(1, 200):
        guest.channel.wake(float(second))
    received = b""
    guest.end.setblocking(False)
    for second in range(200, 260):
        guest.channel.flush()
        with contextlib.suppress(BlockingIOError):
            received += guest.end.recv(2**20)
        guest.channel.wake(float(second * 10))
    received += guest.end.recv(2**20)
    lines = [line for line in received.split(b"\n") if line]
    assert all(json.loads(line)["msg_type"] == "challenge" for line in lines)
    guest.end.setblocking(True)
    guest.end.sendall(guest.answer())
    assert guest.channel.read(2600.0)
    assert guest.channel.core.counters.answered == 1
    guest.close()


def test_refusals_of_a_guest_that_does_not_read_are_bounded() -> None:
    guest = Guest()
    fill(guest)
    wrong = b'{"version":1,"source_addr":"me","dest_addr":"nobody","data":{}}\n'
    for second in range(1000):
        guest.end.sendall(wrong)
        assert guest.channel.read(float(second))
    assert len(guest.channel.unsent) <= UNSENT_LIMIT_BYTES
    assert guest.channel.unsent_messages > 0
    guest.close()


def test_an_unknown_address_is_refused_and_counted() -> None:
    guest = Guest()
    guest.end.sendall(b'{"version":1,"source_addr":"me","dest_addr":"nobody","data":{}}\n')
    assert guest.channel.read(0.0)
    (nack,) = guest.received()
    assert nack["msg_type"] == "nack"
    assert guest.errors == {"unknown_address": 1}
    guest.close()


# --- old news -------------------------------------------------------------------------------


def test_a_port_that_was_used_after_it_is_said_to_have_closed_must_be_open(guest: Guest) -> None:
    guest.register(now=10.0)
    guest.channel.registered_at = 10.0
    assert guest.channel.was_heard_after(9.9)
    assert not guest.channel.was_heard_after(10.1)
    guest.end.sendall(guest.answer())
    assert guest.channel.read(10.5)
    assert guest.channel.was_heard_after(10.3)
    assert not guest.channel.was_heard_after(10.5 - IN_TRANSIT_S / 2)  # said just before it closed


def test_a_guest_whose_heartbeat_nobody_asked_for_is_told_so_and_nothing_else_comes_of_it(
    guest: Guest,
) -> None:
    guest.channel.heartbeats = False
    guest.end.sendall(guest.init())
    assert guest.channel.read(0.0)
    (nack,) = guest.received()
    assert nack["msg_type"] == "nack"
    assert nack["log_msg"] == "no heartbeat is asked for; flavor extra spec ha:guest_heartbeat"
    assert guest.channel.core.session is None
    assert guest.events == []
    assert guest.errors == {}  # it does nothing wrong


def test_a_guest_whose_messages_nobody_asked_for_is_told_which_of_them_was_refused() -> None:
    with contextlib.closing(Guest()) as guest:
        address = "cgcs.server_grp"
        query = {"version": 1, "msg_type": "status_query", "seq": 7}
        envelope = {"version": 1, "source_addr": "app", "dest_addr": address, "data": query}
        guest.end.sendall(b"\n" + json.dumps(envelope).encode() + b"\n")
        assert guest.channel.read(0.0)
        (nack,) = guest.received()
        assert nack["orig_msg_type"] == "status_query"
        assert "ha:server_group_messaging" in nack["log_msg"]
        assert guest.errors == {}


def test_refusals_are_few_however_often_the_guest_asks(guest: Guest) -> None:
    guest.channel.heartbeats = False
    for _ in range(50):
        guest.end.sendall(guest.init())
    assert guest.channel.read(0.0)
    assert len(guest.received()) == NACK_BURST
