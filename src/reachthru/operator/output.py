"""Rows as a table on a terminal, as tab-separated text in a pipe, or as JSON."""

import importlib
import json
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
