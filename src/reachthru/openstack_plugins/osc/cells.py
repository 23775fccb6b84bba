"""Values as people read them; programs (json, yaml, csv) get them as they are."""

from collections.abc import Iterable
from typing import Any

from cliff.columns import FormattableColumn

from reachthru.openstack_plugins.osc.records import Delivery, Fault, Member


def plain(text: str | None) -> str | None:
    """Texts come from guests: none may move the cursor of an operator's terminal."""
    if text is None:
        return None
    return "".join(char if char.isprintable() else " " for char in text)


class YesNo(FormattableColumn[bool]):
    def human_readable(self) -> str:
        return "yes" if self._value else "no"


class Lines(FormattableColumn[list[dict[str, Any]]]):
    """One line for each dictionary: its values."""

    def human_readable(self) -> str:
        return "\n".join(
            "  ".join("-" if value is None else str(value) for value in row.values())
            for row in self._value
        )


def told(deliveries: Iterable[Delivery]) -> Lines:
    return Lines(
        [{"sink": one.sink, "state": one.state, "attempts": one.attempts} for one in deliveries]
    )


def members(found: Iterable[Member]) -> Lines:
    return Lines(
        [
            {
                "id": one.uuid,
                "name": plain(one.display_name or one.name),
                "host": one.host,
                "state": one.state,
            }
            for one in found
        ]
    )


def causes(faults: Iterable[Fault]) -> Lines:
    return Lines(
        [
            {
                "raised_at": fault.raised_at,
                "kind": fault.kind,
                "severity": fault.severity,
                "detail": plain(fault.detail),
            }
            for fault in faults
        ]
    )
