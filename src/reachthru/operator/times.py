"""Times as people read and write them."""

import argparse
import re
from datetime import UTC, datetime

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def duration_s(text: str) -> float:
    """`90s`, `30m`, `2h`, `1d`, `1h30m`. Raises `ArgumentTypeError`."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 90s, 30m, 2h, 1d, 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def ago(value: object, now: datetime | None = None) -> str:
    """How long it is since `value`, ISO 8601, or until then."""
    try:
        then = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    size = _rounded(abs(seconds))
    return f"in {size}" if seconds < -1 else f"{size} ago"


def _rounded(seconds: float) -> str:
    for unit, unit_s in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * unit_s or (unit != "d" and seconds >= unit_s):
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
