"""What a command lists: how a thing becomes a row, how bad it is, and how the list is shown."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from reachthru.operator import api, output
from reachthru.operator.output import Cell

Item = dict[str, Any]


def unstyled(_value: Any) -> str:
    return ""


class Column(NamedTuple):
    """`get` is for pipes, and `human`, of what it gives, for terminals.

    `spare`: where a terminal is too narrow, columns go that have one, the highest first.
    `elastic`: its text may be cut.
    """

    name: str
    get: Callable[[Item], object]
    human: Callable[[object], str] | None = None
    style: Callable[[Any], str] = unstyled
    spare: int = 0
    elastic: bool = False


class Listing(NamedTuple):
    """`read` asks the controller for all; `badness` sorts, the least first; `key` names a thing."""

    what: str
    columns: Sequence[Column]
    read: Callable[[api.Api, argparse.Namespace], Any]
    items: Callable[[Any], list[Item]]
    badness: Callable[[Item], Any]
    key: Callable[[Item], object]

    def sorted_items(self, answer: Any) -> list[Item]:
        """The worst first."""
        return sorted(self.items(answer), key=self.badness)

    def plain_row(self, item: Item) -> list[object]:
        return [column.get(item) for column in self.columns]

    def cells(self, item: Item) -> list[Cell]:
        """For a terminal."""
        cells = []
        for column in self.columns:
            value = column.get(item)
            human = column.human(value) if column.human and value is not None else value
            cells.append(Cell(output.plain(human), column.style(value)))
        return cells


def field(name: str, **how: Any) -> Column:
    """A column of the field that is called so; what an older controller does not say is None."""
    return Column(name, lambda item: item.get(name), **how)


def by_word(**styles: str) -> Callable[[Any], str]:
    """A style for each word."""
    return lambda value: styles.get(str(value), "")


def add_options(parser: argparse.ArgumentParser, listing: Listing) -> None:
    parser.add_argument("--watch", action="store_true", help="then go on as they change")
    api.add_options(parser)
    parser.set_defaults(run=run, listing=listing)


def run(args: argparse.Namespace) -> int:
    controller, listing = api.Api(args), args.listing
    if args.watch:
        # Threads, and a live screen: who lists once does not wait for them.
        from reachthru.operator import watch  # noqa: PLC0415

        return watch.watch(controller, listing, args)
    answer = listing.read(controller, args)
    if args.json:
        output.show_json(answer)
    else:
        show(listing, answer)
    return 0


def show(listing: Listing, answer: Any) -> None:
    items = listing.sorted_items(answer)
    if output.is_terminal():
        # rich is not small: who pipes does not wait for it.
        from reachthru.operator import table  # noqa: PLC0415

        table.show(listing.columns, [listing.cells(item) for item in items])
    else:
        output.show_rows([column.name for column in listing.columns], map(listing.plain_row, items))
