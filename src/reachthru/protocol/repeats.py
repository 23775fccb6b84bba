"""Tells what was seen lately, in bounded memory."""

import hashlib
from collections import OrderedDict

import msgspec

from reachthru.protocol.agent_bus import GroupNotification

SEEN_LIMIT = 10_000

_encoder = msgspec.json.Encoder(order="deterministic")


class RecentNotifications:
    """A controller that takes over tells the last changes of states again: each member hears once.

    A repeat has the same event type, timestamp and payload.
    """

    def __init__(self, limit: int = SEEN_LIMIT) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def new_recipients(self, news: GroupNotification) -> list[str]:
        """Those of its recipients that have not been told; they count as told from now on."""
        body = _encoder.encode((news.event_type, news.timestamp, news.payload))
        digest = hashlib.blake2b(body, digest_size=16).digest()
        new = [uuid for uuid in news.recipients if (uuid, digest) not in self._seen]
        for uuid in new:
            self._seen[uuid, digest] = None
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return new
