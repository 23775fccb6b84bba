"""What the server-group application allows (wire contract, section 5): texts, sizes, shapes.

Field guests read a whole application message into a buffer of 4096 bytes, so what is longer is
trimmed before it is sent: first keys that nobody here knows, the largest first, then those of
`TRIM_ORDER`, one by one until the rest fits. `instance_id`, `display_name`, `state` and `stale`
stay; should even they be too long, their texts are clipped.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from reachthru.protocol.messages import (
    BROADCAST_FORBIDDEN,
    BROADCAST_LIMIT_BYTES,
    GROUP_MESSAGE_LIMIT_BYTES,
    Notification,
    ServerGroupMessage,
    StatusResponse,
    clip_text,
)

NEVER_TRIMMED = ("instance_id", "display_name", "state", "stale")
# From the largest and least useful to a peer, to what it misses most.
TRIM_ORDER = (
    *("metadata", "image_meta", "image_ref_url", "reservation_id", "kernel_id", "ramdisk_id"),
    *("cell_name", "progress", "instance_flavor_id", "instance_type_id", "architecture"),
    *("os_type", "user_id", "terminated_at", "deleted_at", "created_at", "launched_at"),
    *("ephemeral_gb", "root_gb", "disk_gb", "memory_mb", "vcpus", "instance_type"),
    *("availability_zone", "access_ip_v6", "access_ip_v4", "tenant_id", "node", "host"),
    *("state_description", "hostname"),
)
# What guests may be told of a member (the contract's list), and whether it may be old.
STATUS_KEYS = frozenset((*NEVER_TRIMMED, *TRIM_ORDER))
WORD_LIMIT_BYTES = 64

_encode = msgspec.json.encode


def refuse_broadcast(data: str) -> str | None:
    """Why `data` can't be broadcast, for the nack; None if it can."""
    try:
        size_bytes = len(data.encode())
    except UnicodeEncodeError:
        return "broadcast refused: not text that UTF-8 can hold"
    if size_bytes > BROADCAST_LIMIT_BYTES:
        return f"broadcast refused: {size_bytes} bytes of UTF-8, {BROADCAST_LIMIT_BYTES} allowed"
    if any(char in data for char in BROADCAST_FORBIDDEN):
        return "broadcast refused: newline and NUL are not allowed"
    return None


def size_bytes(message: ServerGroupMessage) -> int:
    """The application message's length, serialised compactly, without its envelope."""
    return len(_encode(message))


def fit_status(seq: int, status: dict[str, Any]) -> StatusResponse:
    """One member's status as the answer to the query `seq`, trimmed to what a guest can read."""
    return StatusResponse(
        seq=seq, data=_trim(status, lambda data: _fits(StatusResponse(seq=seq, data=data)))
    )


def fit_notification(
    event_type: str, priority: str, timestamp: str, status: dict[str, Any], base_version: int
) -> Notification:
    """A member's new state, in the shape that guests of `base_version` expect, trimmed."""
    words = {
        "event_type": clip_text(event_type, WORD_LIMIT_BYTES),
        "priority": clip_text(priority, WORD_LIMIT_BYTES),
        "timestamp": clip_text(timestamp, WORD_LIMIT_BYTES),
    }

    def shape(data: dict[str, Any]) -> Notification:
        return Notification(data=data if base_version == 1 else {**words, "payload": data})

    return shape(_trim(status, lambda data: _fits(shape(data))))


def _fits(message: ServerGroupMessage) -> bool:
    return size_bytes(message) <= GROUP_MESSAGE_LIMIT_BYTES


def _trim(status: dict[str, Any], fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """`status` without as many of its keys as it takes; itself if it fits."""
    if fits(status):
        return status
    trimmed = dict(status)
    unknown = sorted(trimmed.keys() - STATUS_KEYS, key=lambda key: -len(_encode(trimmed[key])))
    for key in (*unknown, *TRIM_ORDER):
        if key in trimmed:
            del trimmed[key]
            if fits(trimmed):
                return trimmed
    return {
        key: value if isinstance(value, bool) else clip_text(str(value), WORD_LIMIT_BYTES)
        for key, value in trimmed.items()
    }
