"""What waits to be written. A host that does not read gets the newest of each kind, no burst."""

from collections.abc import Callable


class Outbox:
    """Lines in order while the port takes them; once it is blocked, one of each kind."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self._rest = b""  # of a line that is half out: finished first, or the host can't read it
        self._lines: list[tuple[type, bytes]] = []
        self.replaced = 0

    def put(self, kind: type, line: bytes) -> None:
        self._lines.append((kind, line))

    def flush(self) -> bool:
        """Writes what the port takes. True when nothing is left."""
        while self._rest or self._lines:
            data = self._rest or self._lines[0][1]
            written = self._write(data)
            if written and not self._rest:
                del self._lines[0]
            self._rest = data[written:] if written or self._rest else b""
            if written < len(data):
                self._keep_newest()
                return False
        return True

    def clear(self) -> None:
        """Forgets everything: it was meant for a host that has left."""
        self._rest = b""
        self._lines.clear()

    def _keep_newest(self) -> None:
        newest = dict(self._lines)
        self.replaced += len(self._lines) - len(newest)
        self._lines = list(newest.items())
