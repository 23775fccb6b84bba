"""Bytes to capped lines, and back (wire contract, section 2: framing)."""

from reachthru.protocol.errors import LineTooLongError

LINE_LIMIT_BYTES = 64 * 1024


def frame(payload: bytes) -> bytes:
    """One message as it goes on the wire.

    The newline in front ends whatever a restarted sender left unfinished.
    """
    return b"\n%b\n" % payload


class LineBuffer:
    """Collects bytes and gives whole lines, keeping at most `limit_bytes` of an unfinished one.

    A line longer than the limit becomes one `LineTooLongError` in its place, however it was
    split, and the line after it is read as usual.
    """

    __slots__ = ("_discarding", "_limit_bytes", "_tail")

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._tail = b""
        self._discarding = False

    def feed(self, data: bytes) -> list[bytes | LineTooLongError]:
        """The lines that `data` completes, in order, without empty ones."""
        if self._tail:
            data = self._tail + data
            self._tail = b""
        whole = data.split(b"\n")
        tail = whole.pop()
        lines: list[bytes | LineTooLongError] = []
        for line in whole:
            if self._discarding:  # the end of the line that was already reported
                self._discarding = False
            elif len(line) > self._limit_bytes:
                lines.append(self._too_long())
            elif line and not line.isspace():
                lines.append(line)
        if self._discarding:
            return lines
        if len(tail) > self._limit_bytes:
            lines.append(self._too_long())
            self._discarding = True
        else:
            self._tail = tail
        return lines

    def reset(self) -> None:
        """Forgets an unfinished line: the peer has gone and another one speaks now."""
        self._tail = b""
        self._discarding = False

    def _too_long(self) -> LineTooLongError:
        return LineTooLongError(f"line longer than {self._limit_bytes} bytes, dropped")
