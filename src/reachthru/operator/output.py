"""Rows as a table on a terminal, as tab-separated text in a pipe, or as JSON."""

import importlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

Row = Sequence[object]


def show_json(data: object) -> None:
    """One line, so that a stream of them can be read as it comes."""
    _say(json.dumps(data, ensure_ascii=False))


def show_rows(columns: Sequence[str], rows: Iterable[Row]) -> None:
    plain = [[_plain(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        # rich is not small: who pipes does not wait for it.
        importlib.import_module("reachthru.operator.table").show(columns, plain)
        return
    for cells in ([column.upper() for column in columns], *plain):
        _say("\t".join(cells))


def show_line(row: Row) -> None:
    """One row of something that goes on."""
    _say(("  " if sys.stdout.isatty() else "\t").join(_plain(value) for value in row))


# ANSI (ECMA-48) colours that any terminal has, light or dark.
_COLOURS = {"good": "32", "doubtful": "33", "bad": "31;1", "quiet": "2", "heading": "1"}


def is_coloured() -> bool:
    """On a terminal that takes it, unless somebody would rather not (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def coloured(text: str, style: str) -> str:
    """`style`: good, doubtful, bad, quiet, heading; "" is none."""
    code = _COLOURS.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if code and is_coloured() else text


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> str:
    """Texts come from guests: none may move the cursor of an operator's terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(char if char.isprintable() else " " for char in str(value))
