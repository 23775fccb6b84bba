"""A fault as a controller tells of it: the same object on the bus, through the event API and in
a snapshot. Only what an alarm needs is kept; a later controller may say more."""

from collections.abc import Mapping
from datetime import UTC, datetime

STATUSES = ("raised", "cleared")
_TEXTS = ("id", "kind", "severity", "status", "host", "raised_at")
_OPTIONAL_TEXTS = (
    "instance_uuid",
    "instance_name",
    "detail",
    "corrective_action",
    "cleared_at",
    "correlated_to",
)


class GarbledError(ValueError):
    """It is no fault; one line that says why."""


def fault_of(told: object) -> dict[str, str]:
    """What `told` says, with "" for what it leaves out. Raises `GarbledError`."""
    if not isinstance(told, Mapping):
        raise GarbledError("it is no object")
    fault = {}
    for name in _TEXTS:
        value = told.get(name)
        if not isinstance(value, str) or not value:
            raise GarbledError(f"{name} is missing, or no text")
        fault[name] = value
    for name in _OPTIONAL_TEXTS:
        value = told.get(name)
        if value is not None and not isinstance(value, str):
            raise GarbledError(f"{name} is no text")
        fault[name] = value or ""
    if fault["status"] not in STATUSES:
        raise GarbledError(f"status is not one of {', '.join(STATUSES)}")
    fault["changed_at"] = _in_utc(fault["cleared_at"] or fault["raised_at"])
    return fault


def _in_utc(moment: str) -> str:
    """In Vitrage's own form, whole seconds: it takes an end within this second for the future."""
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        raise GarbledError(f"{moment[:40]!r} is no time") from None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return then.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
