"""What every carrier does with a payload that arrives: judge it, then keep it for the reader.

A peer is never trusted: what is no message, is too long, or claims to come from another host
is refused, counted, and logged once for each source.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from reachthru.bus.base import is_work
from reachthru.protocol.agent_bus import (
    NEWS_VERSION,
    AgentMessage,
    GroupBroadcast,
    GroupQuery,
    decode_from_agent,
)
from reachthru.protocol.controller_bus import ControllerNews, decode_from_peer
from reachthru.protocol.errors import GarbledError, PeerError

# A full report of 4,000 instances is about 1 MiB.
PAYLOAD_LIMIT_BYTES = 4 * 1024 * 1024
# Twice the largest burst of faults that a cloud is expected to raise at once.
INBOX_LIMIT = 20_000
# Sources that were already complained about; more than these are counted in silence.
COMPLAINTS_LIMIT = 1_000

Item = TypeVar("Item")

_log = logging.getLogger(__name__)


class Inbox(Generic[Item]):
    """Items between a carrier and whoever reads `items`, across reconnections; bounded."""

    def __init__(self, limit: int = INBOX_LIMIT) -> None:
        self.refused: Counter[str] = Counter()
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue(limit)
        self._complaints: set[tuple[str, str]] = set()

    def receive(self, source: str, payload: bytes, decode: Callable[[bytes], Item]) -> None:
        """Keeps what `decode` makes of `payload`; never raises. `source` is for the log."""
        try:
            if len(payload) > PAYLOAD_LIMIT_BYTES:
                raise GarbledError(f"longer than {PAYLOAD_LIMIT_BYTES} bytes")
            item = decode(payload)
        except NotForUsError:
            pass
        except PeerError as error:
            self._refuse(error.reason, source, payload, error)
        else:
            try:
                self._queue.put_nowait(item)
            except asyncio.QueueFull:
                full = f"{self._queue.maxsize} messages are waiting already"
                self._refuse("overflow", source, payload, full)

    def close(self) -> None:
        """Ends `items`, after what is already here."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def items(self) -> AsyncIterator[Item]:
        while (item := await self._queue.get()) is not None:
            yield item

    def _refuse(self, reason: str, source: str, payload: bytes, why: object) -> None:
        self.refused[reason] += 1
        complaint = (reason, source)
        if complaint in self._complaints or len(self._complaints) >= COMPLAINTS_LIMIT:
            return
        self._complaints.add(complaint)
        _log.warning(
            "%s: a message of %d bytes is skipped (%s): %s; the next ones like it are only counted",
            source,
            len(payload),
            reason,
            why,
        )


class WrongHostError(PeerError):
    """A message that claims to come from another host than its carrier says."""

    reason = "wrong_host"


class NotForUsError(PeerError):
    """What a carrier brings to everybody, and this one has no use for."""


def decode_work_from(host: str, payload: bytes) -> tuple[str, AgentMessage]:
    """What the agent of `host` sent as work. Raises `PeerError`.

    News is taken too, if it is an older agent's, which sends all of it here. A newer agent's is
    a copy for older controllers.
    """
    host, message = decode_from(host, payload)
    if not is_work(message) and message.v >= NEWS_VERSION:
        raise NotForUsError
    return host, message


def decode_group_from(host: str, payload: bytes) -> tuple[str, AgentMessage]:
    """The group message of the agent of `host`. Raises `PeerError`."""
    host, message = decode_from(host, payload)
    if not isinstance(message, GroupBroadcast | GroupQuery):
        raise GarbledError(f"{type(message).__name__} is no group message, and came as one")
    return host, message


def decode_from(host: str, payload: bytes) -> tuple[str, AgentMessage]:
    """The message of the agent of `host`. Raises `PeerError`."""
    message = decode_from_agent(payload)
    # Group messages claim no host of their own.
    if not isinstance(message, GroupBroadcast | GroupQuery) and message.host != host:
        raise WrongHostError(f"it claims to come from {message.host[:255]!r}")
    return host, message


def decode_news_from(host: str, payload: bytes) -> tuple[str, AgentMessage]:
    """What the agent of `host` told every controller. Raises `PeerError`."""
    host, message = decode_from(host, payload)
    if is_work(message):  # every controller would do it
        raise GarbledError(f"{type(message).__name__} is work, and came as news")
    return host, message


def decode_news_for(name: str, payload: bytes) -> tuple[str, ControllerNews]:
    """What another controller told the one called `name`. Raises `PeerError`."""
    news = decode_from_peer(payload)
    if news.controller == name:
        raise NotForUsError
    return news.controller, news
