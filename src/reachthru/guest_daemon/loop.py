"""One poll(2) and one timer for everything that the daemon does."""

import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import FrameType
from typing import Protocol


class Source(Protocol):
    """Something that the loop serves. Each `step` does a bounded piece of work, never blocking."""

    def interest(self) -> Mapping[int, int]:
        """Descriptors to watch from now on, each with its poll(2) events."""

    def deadline(self) -> float | None:
        """Monotonic seconds: call `step` then, even if no descriptor is ready."""

    def step(self, now: float, ready: Collection[int]) -> None:
        """Some of its descriptors are ready, or its deadline has passed."""


def earliest(moments: Iterable[float | None]) -> float | None:
    """The first of several deadlines, of which some or all may not be."""
    return min((moment for moment in moments if moment is not None), default=None)


class Loop:
    """Serves its sources in the order given, each at most once a turn."""

    def __init__(
        self, sources: Sequence[Source], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = sources
        self._clock = clock
        # poll(2) keeps nothing in the kernel, so a descriptor that was closed and whose number
        # is used again can't be mistaken for the old one; there are never more than a few dozen.
        self._poller = select.poll()
        self._watched: dict[int, int] = {}

    def turn(self, longest_s: float | None = None) -> None:
        """Waits until a source has something to do (or `longest_s`), and lets it."""
        owners = self._watch()
        ready: dict[int, set[int]] = {}
        for fd, _events in self._poller.poll(self._timeout_ms(longest_s)):
            ready.setdefault(owners[fd], set()).add(fd)
        now = self._clock()
        for index, source in enumerate(self._sources):
            deadline = source.deadline()
            if index in ready or (deadline is not None and deadline <= now):
                source.step(now, ready.get(index, ()))

    def _watch(self) -> dict[int, int]:
        owners: dict[int, int] = {}
        wanted: dict[int, int] = {}
        for index, source in enumerate(self._sources):
            for fd, events in source.interest().items():
                owners[fd] = index
                wanted[fd] = events
        for fd in self._watched.keys() - wanted.keys():
            self._poller.unregister(fd)
        for fd, events in wanted.items():
            if self._watched.get(fd) != events:
                self._poller.register(fd, events)
        self._watched = wanted
        return owners

    def _timeout_ms(self, longest_s: float | None) -> float | None:
        deadline = earliest(source.deadline() for source in self._sources)
        wait_s = earliest((longest_s, None if deadline is None else deadline - self._clock()))
        return None if wait_s is None else max(0.0, wait_s) * 1000


class Signals:
    """Turns signals into steps of the loop: `actions` by signal number, called with the time."""

    def __init__(self, actions: Mapping[int, Callable[[float], None]]) -> None:
        self._actions = actions
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _nothing) for number in actions}

    def interest(self) -> Mapping[int, int]:
        return {self._read_fd: select.POLLIN}

    def deadline(self) -> float | None:
        return None

    def step(self, now: float, ready: Collection[int]) -> None:
        if not ready:
            return
        for number in set(os.read(self._read_fd, 4096)):
            if number in self._actions:
                self._actions[number](now)

    def close(self) -> None:
        """Gives the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read_fd)
        os.close(self._write_fd)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor tells the loop; the handler only keeps the default away."""
