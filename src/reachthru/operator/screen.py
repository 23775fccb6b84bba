"""A live list on a terminal: the other screen, drawn in place, given back at the end."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from reachthru.operator import output, table
from reachthru.operator.listing import Listing
from reachthru.operator.watch import Shown

_FRAME_LINES = 5  # the title, the table's heading, and the last line


class Screen(Shown):
    """Use as `with screen:`."""

    def __init__(self, listing: Listing, url: str) -> None:
        self._listing = listing
        self._url = url
        self._answer: Any = None
        self._trouble = ""
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def take(self, answer: Any | None, trouble: str) -> None:
        self._answer = answer if answer is not None else self._answer
        self._trouble = trouble
        self.draw()

    def draw(self) -> None:
        items = self._listing.sorted_items(self._answer)
        room = max(1, self._console.height - _FRAME_LINES)
        rows = [self._listing.cells(item) for item in items[:room]]
        parts: list[RenderableType] = [
            self._title(len(items)),
            table.make(self._listing.columns, rows, self._width),
        ]
        if len(items) > room:
            parts.append(Text(f"and {len(items) - room} more", "dim"))
        self._live.update(Group(*parts), refresh=True)

    @property
    def _width(self) -> int:
        return self._console.width

    def _title(self, count: int) -> Text:
        moment = time.strftime("%H:%M:%S")
        text = Text(f"{count} {self._listing.what}  {moment}  ", "bold")
        if self._trouble:
            text.append(f"trying again: {output.plain(self._trouble)}", "bold red")
        else:
            text.append(f"live from {self._url}; Ctrl-C ends it", "dim")
        text.truncate(self._width, overflow="ellipsis")
        return text
