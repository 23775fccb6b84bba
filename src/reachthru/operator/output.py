"""What goes to standard output: tab-separated text in a pipe, colours on a terminal, or JSON."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Row = Sequence[object]

# ANSI (ECMA-48) colours that every terminal has, light or dark; rich's names for them.
STYLES = {"good": "green", "doubtful": "yellow", "bad": "bold red", "quiet": "dim"}
_CODES = {"good": "32", "doubtful": "33", "bad": "1;31", "quiet": "2"}


class Cell(NamedTuple):
    """`style`: good, doubtful, bad, quiet, or "" for none."""

    text: str
    style: str = ""


def is_terminal() -> bool:
    return sys.stdout.isatty()


def coloured(cell: Cell) -> str:
    """On a terminal that takes it, unless somebody would rather not (no-color.org)."""
    code = _CODES.get(cell.style)
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{code}m{cell.text}\x1b[0m" if code and wanted and is_terminal() else cell.text


def show_json(data: object) -> None:
    """One line, so that a stream of them can be read as it comes."""
    say(json.dumps(data, ensure_ascii=False))


def show_rows(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """For a pipe."""
    show_line([column.upper() for column in columns])
    for row in rows:
        show_line(row)


def show_line(row: Row) -> None:
    say("\t".join(plain(value) for value in row))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def plain(value: Any) -> str:
    """Texts come from guests: none may move the cursor of an operator's terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(char if char.isprintable() else " " for char in str(value))
