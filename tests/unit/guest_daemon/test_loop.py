import os
import select
import signal

from reachthru.guest_daemon.loop import Loop, Signals


class Source:
    def __init__(self, fds=(), deadline=None):
        self.fds = dict.fromkeys(fds, select.POLLIN)
        self.due = deadline
        self.steps = []

    def interest(self):
        return self.fds

    def deadline(self):
        return self.due

    def step(self, now, ready):
        self.steps.append((now, set(ready)))
        self.due = None


def test_a_source_is_stepped_when_ready_or_due_and_not_otherwise():
    read_fd, write_fd = os.pipe()
    reader, timed, idle = Source([read_fd]), Source(deadline=5.0), Source(deadline=6.0)
    loop = Loop([reader, timed, idle], clock=lambda: 5.0)
    loop.turn()
    assert (reader.steps, timed.steps, idle.steps) == ([], [(5.0, set())], [])
    os.write(write_fd, b"x")
    loop.turn()
    assert reader.steps == [(5.0, {read_fd})]
    os.close(read_fd)
    os.close(write_fd)


def test_a_descriptor_that_is_no_longer_of_interest_is_not_watched():
    read_fd, write_fd = os.pipe()
    reader = Source([read_fd])
    loop = Loop([reader])
    os.write(write_fd, b"x")
    loop.turn()
    reader.fds = {}
    loop.turn(longest_s=0)
    assert len(reader.steps) == 1
    os.close(read_fd)
    os.close(write_fd)


def test_a_signal_is_a_step_of_the_loop():
    heard = []
    signals = Signals({signal.SIGUSR1: heard.append})
    loop = Loop([signals])
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.turn(longest_s=5)
    assert len(heard) == 1
    signals.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
