"""A table for a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """`rows` hold plain text: nothing in it is markup."""
    table = Table(*columns)
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)
