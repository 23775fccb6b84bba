"""Lines on stderr: for journald with its level prefix, for people with the time.

The standard `logging` would be a thirtieth of this daemon's memory. And a log must not stop the
heartbeat: a line that stderr can't take at once is left out and counted.
"""

import os
import select
from datetime import UTC, datetime

from reachthru.protocol.messages import clip_text
from reachthru.protocol.rate import TokenBucket

LINE_LIMIT_BYTES = 1024  # below PIPE_BUF: a pipe that poll calls writable takes it whole
PEER_LINES_PER_S = 0.5
PEER_BURST = 20

_LEVELS = {"error": 3, "warning": 4, "info": 6}  # sd-daemon(3)


class Log:
    """Writes to file descriptor `fd`. Never blocks, never raises."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._journald = _is_journald(fd)
        self._poller = select.poll()
        self._poller.register(fd, select.POLLOUT)
        self._left_out = 0

    def error(self, text: str) -> None:
        self._write("error", text)

    def warning(self, text: str) -> None:
        self._write("warning", text)

    def info(self, text: str) -> None:
        self._write("info", text)

    def _write(self, level: str, text: str) -> None:
        if self._left_out:
            text = f"{text} ({self._left_out} lines before this one were left out)"
        line = _shown(clip_text(text, LINE_LIMIT_BYTES))  # a peer's words may be in it
        if self._journald:
            line = f"<{_LEVELS[level]}>{line}"
        else:
            line = f"{datetime.now(UTC).isoformat(timespec='microseconds')} {level}: {line}"
        try:
            if any(flags & select.POLLOUT for _fd, flags in self._poller.poll(0)):
                os.write(self._fd, line.encode() + b"\n")
                self._left_out = 0
                return
        except OSError:
            pass  # stderr is gone; what follows counts the line
        self._left_out += 1


class PeerLog:
    """What a peer makes us say, at a bounded rate however much it sends."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._bucket = TokenBucket(PEER_LINES_PER_S, PEER_BURST)
        self._left_out = 0

    def info(self, text: str, now: float) -> None:
        if self._let_through(now):
            self._log.info(text + self._omission())

    def warning(self, text: str, now: float) -> None:
        if self._let_through(now):
            self._log.warning(text + self._omission())

    def _let_through(self, now: float) -> bool:
        if self._bucket.take(now):
            return True
        self._left_out += 1
        return False

    def _omission(self) -> str:
        left_out, self._left_out = self._left_out, 0
        return f" ({left_out} more were not logged)" if left_out else ""


def _shown(line: str) -> str:
    """Without what else a terminal obeys: C1, Unicode's line ends, what turns text around."""
    return line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line)


def _is_journald(fd: int) -> bool:
    """systemd.exec(5): JOURNAL_STREAM names the device and inode of journald's stream."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
