"""What controllers say to each other, over the bus that their agents use.

The same rules as in `agent_bus`: one JSON object with `type` and `v`; unknown keys are ignored.
"""

import msgspec

from reachthru.protocol.agent_bus import BusMessage, FaultChange
from reachthru.protocol.errors import GarbledError


class ControllerNews(BusMessage, tag="news", kw_only=True):
    """Fault changes that `controller` has just committed to the database.

    Best effort: others hear of them early; what got lost they find in the database. `forgotten`
    are hosts that never return, as an operator said; `released` the faults, by id, of which sinks
    are told now that no maintenance window holds them back.
    `controller` is the name by which it joined the bus.
    """

    controller: str
    changes: list[FaultChange]
    forgotten: list[str] = msgspec.field(default_factory=list)
    released: list[str] = msgspec.field(default_factory=list)


_decoder: msgspec.json.Decoder[ControllerNews] = msgspec.json.Decoder(ControllerNews)


def decode_from_peer(payload: bytes) -> ControllerNews:
    """Raises `GarbledError` for anything that is not a message of another controller."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise GarbledError(f"not a controller's news: {error}") from error
