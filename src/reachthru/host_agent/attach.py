"""Connects channels to their ports' sockets, again and again, a few at a time.

Few at a time, because each guest's cadence begins when it is connected: a thousand guests that
were connected at once would be challenged at once ever after.
"""

import asyncio
import errno
import logging
import os
import resource
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from reachthru.host_agent.channel import Channel
from reachthru.protocol.rate import TokenBucket

BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 2.0
ATTEMPTS_A_ROUND = 32
ROUND_S = 0.010
# A port that hung up is connected at once, so often; then with the backoff.
PROMPT_PER_S = 10.0
PROMPT_BURST = 50

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Target:
    path: str
    backoff_s: float = BACKOFF_MIN_S
    retry: asyncio.TimerHandle | None = None
    complained: bool = False
    prompt: TokenBucket = field(default_factory=lambda: TokenBucket(PROMPT_PER_S, PROMPT_BURST))


class Attacher:
    """`on_connected` gets a channel and its socket; `on_refused` a channel and the
    errno of each attempt that failed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_connected: Callable[[Channel, socket.socket], None],
        on_refused: Callable[[Channel, int], None],
    ) -> None:
        self._loop = loop
        self._on_connected = on_connected
        self._on_refused = on_refused
        self._targets: dict[Channel, _Target] = {}
        self._due: deque[Channel] = deque()
        self._round: asyncio.TimerHandle | None = None
        self._out_of_files = False  # said since it was so last

    def want(self, channel: Channel, path: str) -> None:
        """From now on, until `forget`."""
        self.forget(channel)
        self._targets[channel] = _Target(path)
        self._enqueue(channel)

    def again(self, channel: Channel) -> None:
        """Its connection ended, or there is news of its port: at once, if that is not so always."""
        target = self._targets.get(channel)
        if target is None or channel.sock is not None:
            return
        self._stop_retry(target)
        if not target.prompt.take(self._loop.time()):
            # Somebody accepts and hangs up without end: as slow as those who refuse.
            self._retry_later(channel, target)
            return
        target.backoff_s = BACKOFF_MIN_S
        self._due.appendleft(channel)
        self._work()

    def forget(self, channel: Channel) -> None:
        target = self._targets.pop(channel, None)
        if target is not None:
            self._stop_retry(target)

    def path_of(self, channel: Channel) -> str | None:
        target = self._targets.get(channel)
        return target.path if target else None

    def close(self) -> None:
        for channel in list(self._targets):
            self.forget(channel)
        if self._round is not None:
            self._round.cancel()

    def _enqueue(self, channel: Channel) -> None:
        self._due.append(channel)
        if self._round is None:
            self._round = self._loop.call_later(0, self._work)

    def _work(self) -> None:
        if self._round is not None:
            self._round.cancel()
            self._round = None
        for _ in range(min(ATTEMPTS_A_ROUND, len(self._due))):
            channel = self._due.popleft()
            target = self._targets.get(channel)
            if target is not None and channel.sock is None:
                self._try(channel, target)
        if self._due and self._round is None:
            self._round = self._loop.call_later(ROUND_S, self._work)

    def _try(self, channel: Channel, target: _Target) -> None:
        code, sock = _connect(target.path)
        if sock is not None:
            target.complained = self._out_of_files = False
            self._on_connected(channel, sock)
            return
        self._stop_retry(target)
        self._retry_later(channel, target)
        if code in (errno.EMFILE, errno.ENFILE):  # not the port's doing
            self._complain_of_files()
            return
        if not target.complained:
            target.complained = True
            _complain(target.path, code)
        self._on_refused(channel, code)

    def _complain_of_files(self) -> None:
        if not self._out_of_files:
            self._out_of_files = True
            _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            _log.warning(
                "%d of %d guests' ports can't be connected: this agent may have %d files open, and"
                " needs one a port; raise LimitNOFILE= in its unit (ulimit -Hn); trying on",
                *(sum(channel.sock is None for channel in self._targets), len(self._targets), hard),
            )

    def _retry_later(self, channel: Channel, target: _Target) -> None:
        target.retry = self._loop.call_later(target.backoff_s, self._enqueue, channel)
        target.backoff_s = min(target.backoff_s * 2, BACKOFF_MAX_S)

    def _stop_retry(self, target: _Target) -> None:
        if target.retry is not None:
            target.retry.cancel()
            target.retry = None


def _complain(path: str, code: int) -> None:
    if code == errno.EACCES:  # it does not come right by itself
        _log.warning(
            "%s: permission denied; this agent's user must be in the group that owns the socket"
            " and its folder (libvirt-qemu, or qemu); trying on",
            path,
        )
    else:
        _log.info("%s: not connected yet: %s; trying on", path, os.strerror(code))


def _connect(path: str) -> tuple[int, socket.socket | None]:
    """(errno, socket)"""
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # no descriptor left
        return error.errno or errno.EMFILE, None
    try:
        code = sock.connect_ex(path)
    except OSError:  # a path that no socket can have
        code = errno.ENAMETOOLONG
    if code == 0:
        return 0, sock
    sock.close()
    return code, None
