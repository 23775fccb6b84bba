"""A table for a terminal: no wider than it, and nothing in it is markup."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reachthru.operator.listing import Column
from reachthru.operator.output import STYLES, Cell

_GAP = 2  # of which one is padding, and one the box's
# What is left of a column whose text may be cut.
_ELASTIC_WIDTH = 12


def show(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    console = Console(highlight=False)
    console.print(make(columns, rows, console.width))


def make(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> Table:
    """Of the columns that fit."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    widths = fitting(columns, rows, width)
    for number, size in widths.items():
        table.add_column(columns[number].name, no_wrap=True, overflow="ellipsis", width=size)
    for cells in rows:
        table.add_row(*(Text(cells[n].text, STYLES.get(cells[n].style, "")) for n in widths))
    return table


def fitting(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int
) -> dict[int, int]:
    """The columns, by number, that fit or that nobody can do without; and how wide each is.

    Those that may be cut share what the others leave.
    """
    longest = {
        number: max([len(column.name), *(len(cells[number].text) for cells in rows)])
        for number, column in enumerate(columns)
    }
    widths = {
        number: min(size, _ELASTIC_WIDTH) if columns[number].elastic else size
        for number, size in longest.items()
    }
    while (left := width - sum(widths.values()) - _GAP * len(widths)) < 0:
        spare, number = max((columns[number].spare, number) for number in widths)
        if not spare:
            break
        del widths[number]
    growing = [number for number in widths if widths[number] < longest[number]]
    while left > 0 and growing:
        share = max(1, left // len(growing))
        for number in growing:
            more = min(share, longest[number] - widths[number], left)
            widths[number] += more
            left -= more
        growing = [number for number in growing if widths[number] < longest[number]]
    return widths
