"""What `members` and `listen` print for people. Others' texts can't drive the terminal."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from reachthru.guest_daemon.client import Broadcast, Dropped, Event, Notification, Refused

# Formatting characters that several scripts are written with, and that move nothing: zero-width
# (non-)joiner. Others, such as the ones that change the direction, are shown as escapes.
_HARMLESS = "\u200c\u200d"
_COLUMNS = (
    ("INSTANCE", "instance_id"),
    ("NAME", "display_name"),
    ("HOSTNAME", "hostname"),
    ("STATE", "state"),
    ("DESCRIPTION", "state_description"),
)


def safe(text: object) -> str:
    """`text` with escapes for what a terminal would act on."""
    return "".join(map(_safe_character, "" if text is None else str(text)))


def show_event(event: Event) -> str:
    """One line."""
    match event:
        case Broadcast(source_instance=source, data=text):
            return f"{safe(source)}: {safe(text)}"
        case Notification(status=status, event_type=event_type):
            what = f" ({safe(event_type)})" if event_type else ""
            return f"* {_who(status)} is {safe(status.get('state')) or 'changed'}{what}"
        case Refused(orig_msg_type=kind, log_msg=log_msg):
            return f"* refused by the host: {safe(kind)}: {safe(log_msg)}"
        case Dropped(count=count):
            return f"* {count} messages came faster than they were read, and are lost"


def show_members(members: Sequence[dict[str, Any]]) -> str:
    """A table."""
    rows = [[title for title, _key in _COLUMNS]]
    rows += [[safe(member.get(key)) for _title, key in _COLUMNS] for member in members]
    for row, member in zip(rows[1:], members, strict=True):
        if member.get("stale"):
            row[-1] = f"{row[-1]} (may be old)".strip()
    widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _who(status: dict[str, Any]) -> str:
    name, instance = safe(status.get("display_name")), safe(status.get("instance_id"))
    return f"{name} ({instance})" if name and instance else name or instance or "a member"


def _safe_character(char: str) -> str:
    if char.isprintable() or char in _HARMLESS or unicodedata.category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode()
