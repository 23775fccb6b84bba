"""One port over the memory transport, by a clock that the test turns."""

import json
from pathlib import Path

import pytest

from reachthru.guest_daemon.group.relay import Relay
from reachthru.guest_daemon.log import Log
from reachthru.guest_daemon.port import Port
from reachthru.guest_daemon.transports.memory import MemoryTransport
from reachthru.protocol.codec import Dialect
from reachthru.protocol.heartbeat.guest import GuestPolicy
from reachthru.protocol.messages import CorrectiveAction


class Bench:
    """A port, its host's end and a clock."""

    def __init__(self, log_fd, room_bytes=1 << 20):
        self.now = 100.0
        self.transport = MemoryTransport(room_bytes)
        ids = iter(range(1, 1000))
        self.port = Port(
            self.transport,
            name="memory",
            dialect=Dialect.BARE,
            policy=GuestPolicy("vm", 1000, CorrectiveAction.LOG),
            draw_id=lambda: next(ids),
            relay=Relay(1),
            log=Log(log_fd),
        )

    def run(self, seconds=0.0):
        """Lets the time pass as the loop would: from deadline to deadline."""
        until = self.now + seconds
        while True:
            deadline = self.port.deadline()
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            self.port.step(self.now, ())
        self.now = until

    def send(self, **fields):
        message = {"version": 3, "revision": 1, "sequence": 1, **fields}
        self.transport.send(b"\n" + json.dumps(message).encode() + b"\n")

    def take(self):
        return [json.loads(line) for line in self.transport.take().split(b"\n") if line]

    def register(self):
        self.transport.arrive()
        self.run()
        (init,) = self.take()
        self.send(msg_type="init_ack", invocation_id=init["invocation_id"])
        self.run()
        return init


@pytest.fixture
def log(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        yield file


@pytest.fixture
def bench(log):
    return Bench(log.fileno())


@pytest.fixture
def logged(log):
    def read():
        return Path(log.name).read_text()

    return read


def test_nothing_is_written_while_no_host_is_there(bench):
    bench.run(3600)
    bench.transport.arrive()
    bench.run()
    assert [message["msg_type"] for message in bench.take()] == ["init"]


def test_an_hour_of_heartbeats(bench):
    bench.register()
    for number in range(3600):
        bench.send(msg_type="challenge", heartbeat_challenge=number)
        bench.run(1.0)
        (answer,) = bench.take()
        assert answer["heartbeat_response"] == number
    assert bench.port.heartbeat.answered == 3600


def test_the_health_of_this_moment_is_in_the_answer(bench):
    bench.register()
    bench.port.heartbeat.healthy = False
    bench.port.heartbeat.log_msg = "check db: down"
    bench.send(msg_type="challenge", heartbeat_challenge=1)
    bench.run()
    (answer,) = bench.take()
    assert (answer["heartbeat_health"], answer["log_msg"]) == ("unhealthy", "check db: down")


def test_a_host_that_does_not_read_gets_the_newest_answer_only(log):
    bench = Bench(log.fileno(), room_bytes=300)
    bench.register()
    for number in range(60):
        bench.send(msg_type="challenge", heartbeat_challenge=number)
        bench.run(1.0)
    old = bench.transport.take()
    bench.transport.room_bytes = 1 << 20
    assert bench.port.flush()
    lines = [line for line in (old + bench.transport.take()).split(b"\n") if line]
    answers = [json.loads(line)["heartbeat_response"] for line in lines]
    assert answers == [0, 1, 59]  # what was out, what was half out, the newest


def test_what_was_meant_for_a_host_that_left_is_not_for_the_next(log):
    bench = Bench(log.fileno(), room_bytes=10)
    bench.transport.arrive()
    bench.run(5)
    bench.transport.leave()
    bench.transport.room_bytes = 1 << 20
    bench.transport.arrive()
    bench.run()
    assert [message["msg_type"] for message in bench.take()] == ["init"]


def test_half_a_line_of_the_last_host_does_not_spoil_the_next_ones(bench):
    bench.register()
    bench.transport.send(b'{"version":3,"revi')
    bench.run()
    bench.transport.leave()
    bench.register()
    bench.transport.send(
        b'{"version":3,"revision":1,"sequence":1,"msg_type":"challenge","heartbeat_challenge":4}\n'
    )
    bench.run()
    assert [message["heartbeat_response"] for message in bench.take()] == [4]
    assert bench.port.peer_errors == {}


def test_challenges_that_waited_while_the_daemon_was_stopped_are_read_before_the_clock(bench):
    bench.register()
    bench.now += 60
    bench.send(msg_type="challenge", heartbeat_challenge=1)
    bench.port.step(bench.now, ())
    assert [message["msg_type"] for message in bench.take()] == ["challenge_response"]


def test_a_silent_host_is_asked_anew(bench, logged):
    bench.register()
    bench.run(2.9)
    assert bench.take() == []
    bench.run(0.2)
    assert [message["msg_type"] for message in bench.take()] == ["init"]
    assert "no challenge for 3 s; registering anew" in logged()


def test_peer_errors_are_all_counted_and_a_few_logged(bench, logged):
    bench.register()
    for _ in range(1000):
        bench.transport.send(b"garbage\n")
    bench.run()
    assert bench.port.peer_errors == {"not_json": 1000}
    assert logged().count("not a JSON object") <= 20
    bench.now += 60
    bench.transport.send(b"garbage\n")
    bench.run()
    assert "more were not logged)" in logged()


def test_the_goodbye_is_the_last_word(bench):
    bench.register()
    bench.port.say_goodbye("stopped", bench.now)
    assert bench.port.flush()
    assert [message["msg_type"] for message in bench.take()] == ["exit"]
    bench.send(msg_type="challenge", heartbeat_challenge=1)
    bench.run(10)
    assert bench.take() == []


def test_a_lifecycle_event_is_answered_and_logged(bench, logged):
    bench.register()
    bench.send(
        msg_type="action_notify",
        invocation_id=77,
        event_type="live_migrate_begin",
        notification_type="irrevocable",
        timeout_ms=5000,
    )
    bench.run()
    (answer,) = bench.take()
    assert (answer["msg_type"], answer["invocation_id"]) == ("action_response", 77)
    assert answer["vote_result"] == "complete"
    assert "live_migrate_begin (irrevocable, 5000 ms)" in logged()


def test_a_port_that_fails_is_said(bench, logged):
    bench.transport.fail("No such device")
    bench.run()
    assert "memory: No such device; trying again every few seconds" in logged()
