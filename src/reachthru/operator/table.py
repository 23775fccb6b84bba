"""A table for a terminal: no wider than it, and nothing in it is markup."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reachthru.operator.listing import Column
from reachthru.operator.output import STYLES, Cell

_GAP = 2
# What is left of a column whose text may be cut.
_ELASTIC_WIDTH = 16


def show(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    console = Console(highlight=False)
    console.print(make(columns, rows, console.width))


def make(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> Table:
    """Of the columns that fit."""
    kept = fitting(columns, rows, width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP, 0, 0), pad_edge=False, show_edge=False)
    for number in kept:
        elastic = columns[number].elastic
        table.add_column(
            columns[number].name,
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if elastic else _needed(columns, rows, number, width),
            ratio=1 if elastic else None,
        )
    for cells in rows:
        table.add_row(*(Text(cells[n].text, STYLES.get(cells[n].style, "")) for n in kept))
    return table


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """The numbers of the columns that fit, or that nobody can do without."""
    kept = list(range(len(columns)))
    while sum(_needed(columns, rows, number, width) + _GAP for number in kept) > width:
        spare = max((columns[number].spare, number) for number in kept)
        if not spare[0]:
            break
        kept.remove(spare[1])
    return kept


def _needed(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], number: int, width: int
) -> int:
    longest = max([len(columns[number].name), *(len(cells[number].text) for cells in rows)])
    return min(longest, _ELASTIC_WIDTH if columns[number].elastic else width)
