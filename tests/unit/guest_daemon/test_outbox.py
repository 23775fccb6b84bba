"""What a host that does not read gets, when it reads again."""

import pytest

from reachthru.guest_daemon.outbox import Outbox
from reachthru.protocol.messages import ChallengeResponse, Exit, Init


class Pipe:
    """Takes `room` bytes."""

    def __init__(self, room):
        self.room = room
        self.taken = b""

    def write(self, data):
        taken = data[: self.room]
        self.room -= len(taken)
        self.taken += taken
        return len(taken)


def test_everything_goes_out_in_order_while_the_port_takes_it():
    pipe = Pipe(1000)
    outbox = Outbox(pipe.write)
    for line in (b"\na\n", b"\nb\n", b"\nc\n"):
        outbox.put(ChallengeResponse, line)
    assert outbox.flush()
    assert pipe.taken == b"\na\n\nb\n\nc\n"


def test_only_the_newest_of_each_kind_waits_for_a_host_that_does_not_read():
    pipe = Pipe(0)
    outbox = Outbox(pipe.write)
    for number in range(100):
        outbox.put(ChallengeResponse, b"\nanswer %d\n" % number)
        assert not outbox.flush()
    outbox.put(Exit, b"\nexit\n")
    assert not outbox.flush()
    pipe.room = 1000
    assert outbox.flush()
    assert pipe.taken == b"\nanswer 99\n\nexit\n"
    assert outbox.replaced == 99


@pytest.mark.parametrize("room", range(1, 12))
def test_a_line_that_is_half_out_is_finished(room):
    pipe = Pipe(room)
    outbox = Outbox(pipe.write)
    outbox.put(Init, b"\ninit\n")
    outbox.put(ChallengeResponse, b"\nold\n")
    outbox.flush()
    outbox.put(ChallengeResponse, b"\nnew\n")
    outbox.flush()
    pipe.room = 1000
    assert outbox.flush()
    lines = pipe.taken.split()
    assert lines[0] == b"init"
    assert lines[-1] == b"new"
    assert set(lines) <= {b"init", b"old", b"new"}


def test_nothing_of_an_old_host_is_left_for_a_new_one():
    pipe = Pipe(3)
    outbox = Outbox(pipe.write)
    outbox.put(Init, b"\ninit\n")
    outbox.flush()
    outbox.clear()
    pipe.room = 1000
    assert outbox.flush()
    assert pipe.taken == b"\nin"
