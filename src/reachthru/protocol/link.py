"""The base layer on one port: bytes in, messages and peer errors out; messages in, bytes out.

Follows the peer's base version (section 3: a host answers a guest in the version that it last
heard from it, and opens with 1) and routes to applications by message type.
"""

from collections.abc import Callable, Sequence

from reachthru.protocol import codec
from reachthru.protocol.codec import Dialect, Received
from reachthru.protocol.errors import BadEnvelopeError, BadMessageError, PeerError
from reachthru.protocol.lines import LINE_LIMIT_BYTES, LineBuffer, frame
from reachthru.protocol.messages import (
    BASE_VERSIONS,
    HEARTBEAT_ADDR,
    LOG_MSG_LIMIT_BYTES,
    Challenge,
    HeartbeatNack,
    Message,
    ServerGroupNack,
    clip_text,
)
from reachthru.protocol.rate import TokenBucket

NACKS_PER_S = 1.0
NACK_BURST = 5


def _challenge_template(dialect: Dialect, base_version: int) -> bytes:
    """A framed challenge, with %d where its two numbers go."""
    challenge = Challenge(sequence=11111111, heartbeat_challenge=22222222)
    line = frame(codec.encode(challenge, dialect, base_version))
    return line.replace(b"%", b"%%").replace(b"11111111", b"%d").replace(b"22222222", b"%d")


_CHALLENGES = {
    (dialect, version): _challenge_template(dialect, version)
    for dialect in Dialect
    for version in BASE_VERSIONS
}


class Link:
    """One end of a port. Identity is the port's: nothing here is taken from a message.

    `from_host` is for the guest's end. `least_version` is the lowest base version to speak, which
    is the guest's to choose, as a host follows it.
    """

    __slots__ = (
        *("_dialect", "_from_host", "_lines", "_nacks", "base_version", "least_version", "split"),
    )

    def __init__(
        self,
        dialect: Dialect,
        limit_bytes: int = LINE_LIMIT_BYTES,
        *,
        from_host: bool = False,
    ) -> None:
        self._dialect = dialect
        self._from_host = from_host
        self._lines = LineBuffer(limit_bytes)
        # The lines that its argument completes; for a receiver that counts before it parses.
        self.split: Callable[[bytes], Sequence[bytes | PeerError]] = self._lines.feed
        self._nacks = TokenBucket(NACKS_PER_S, NACK_BURST)
        self.base_version = 1
        self.least_version = 1

    def parse(self, line: bytes) -> Received | PeerError:
        """One line's message, or what is wrong with it."""
        try:
            received = codec.decode(line, self._dialect, from_host=self._from_host)
        except PeerError as error:
            return error
        if received.base_version is not None:
            self.base_version = received.base_version
        return received

    def feed(self, data: bytes) -> list[Received | PeerError]:
        """Everything that `data` completes, in order."""
        return [
            self.parse(line) if isinstance(line, bytes) else line for line in self._lines.feed(data)
        ]

    def encode(
        self, message: Message, dest_addr: str | None = None, source_addr: str | None = None
    ) -> bytes:
        """The message, framed, as this peer understands it."""
        version = max(self.base_version, self.least_version)
        return frame(codec.encode(message, self._dialect, version, dest_addr, source_addr))

    def encode_challenge(self, challenge: Challenge) -> bytes:
        """As `encode`, at a quarter of its cost: nearly all that a host sends is challenges."""
        template = _CHALLENGES[self._dialect, self.base_version]
        return template % (challenge.sequence, challenge.heartbeat_challenge)

    def refuse(self, error: PeerError, now: float) -> bytes | None:
        """The host's nack for `error`, framed; None where nobody is to be told (again)."""
        source_addr = getattr(error, "source_addr", None)
        if source_addr is None or not self._nacks.take(now):
            return None
        log_msg = clip_text(str(error), LOG_MSG_LIMIT_BYTES)
        if isinstance(error, BadMessageError) and source_addr == HEARTBEAT_ADDR:
            return self.encode(HeartbeatNack(log_msg=log_msg))
        if isinstance(error, BadEnvelopeError | BadMessageError):
            msg_type = error.msg_type if isinstance(error, BadMessageError) else "unknown"
            return self.encode(
                ServerGroupNack(orig_msg_type=msg_type, log_msg=log_msg), dest_addr=source_addr
            )
        return None

    def reset(self) -> None:
        """The peer has gone; another one speaks from here on."""
        self._lines.reset()
        self.base_version = 1
