"""`--watch`: a list that is kept right. The controller's events say when to look again.

On a terminal it is one screen, drawn anew; in a pipe, what changed is a line. A controller that is
away for a while is waited for.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from reachthru.operator import output
from reachthru.operator.api import Api, ApiError
from reachthru.operator.listing import Item, Listing

Follow = Callable[[], Iterator[tuple[str, Any]]]

# How soon after one look the next may be; slow answers make it longer.
PAUSE_S = 0.5
PAUSE_FACTOR = 4.0
# Not everything is an event: a group's members, a window's end.
LOOK_S = 10.0
DRAW_S = 1.0  # "5 s ago" goes on
RETRY_MIN_S, RETRY_MAX_S = 0.5, 5.0


def again_and_again(follow: Follow) -> Iterator[tuple[str, Any]]:
    """What `follow` gives, from one stream after the other. Raises `ApiError` where the first one
    does not begin, or where trying again is of no use.
    """
    began, said, retry_s = False, False, RETRY_MIN_S
    while True:
        try:
            for event in follow():
                began, said, retry_s = True, False, RETRY_MIN_S
                yield event
        except ApiError as error:
            if error.final or not began:
                raise
            if not said:
                said = True
                sys.stderr.write(f"reachthru: {output.plain(error)}; trying again\n")
        time.sleep(retry_s)
        retry_s = min(RETRY_MAX_S, retry_s * 2)


class Follower:
    """Follows the events in a thread. `news` is set when it is worth looking again."""

    def __init__(self, controller: Api) -> None:
        self._controller = controller
        self.news = threading.Event()
        self.trouble = ""  # why there is no stream now
        threading.Thread(target=self._run, name="events", daemon=True).start()

    def _run(self) -> None:
        retry_s = RETRY_MIN_S
        while True:
            try:
                for _kind, _item in self._controller.follow():
                    self.trouble, retry_s = "", RETRY_MIN_S
                    self.news.set()
            except ApiError as error:
                self.trouble = str(error)
                self.news.set()
            time.sleep(retry_s)
            retry_s = min(RETRY_MAX_S, retry_s * 2)


def watch(controller: Api, listing: Listing, args: argparse.Namespace) -> int:
    """Until somebody interrupts it. Raises `ApiError` where even the first look fails."""
    answer = listing.read(controller, args)
    if output.is_terminal() and not args.json:
        from reachthru.operator.screen import Screen  # noqa: PLC0415

        with Screen(listing, args.url) as screen:
            screen.take(answer, "")
            _keep_right(controller, listing, args, screen)
    lines = Lines(listing, as_json=args.json)
    lines.take(answer, "")
    _keep_right(controller, listing, args, lines)
    return 0


def _keep_right(
    controller: Api, listing: Listing, args: argparse.Namespace, shown: "Shown"
) -> None:
    follower = Follower(controller)
    look_at = time.monotonic() + LOOK_S
    while True:
        follower.news.wait(DRAW_S)
        if not follower.news.is_set() and time.monotonic() < look_at:
            shown.draw()
            continue
        follower.news.clear()
        began = time.monotonic()
        try:
            shown.take(listing.read(controller, args), follower.trouble)
        except ApiError as error:
            if error.final:
                raise
            shown.take(None, str(error))
        took_s = time.monotonic() - began
        time.sleep(max(PAUSE_S, took_s * PAUSE_FACTOR))
        look_at = time.monotonic() + LOOK_S


class Shown:
    """Where the list goes."""

    def take(self, answer: Any | None, trouble: str) -> None:
        """None: it could not be read. `trouble`: why it may be old."""
        raise NotImplementedError

    def draw(self) -> None:
        """Time has passed."""


class Lines(Shown):
    """For a pipe: everything once, then what is new or has changed."""

    def __init__(self, listing: Listing, *, as_json: bool) -> None:
        self._listing = listing
        self._as_json = as_json
        self._seen: dict[object, Any] | None = None
        self._trouble = ""

    def take(self, answer: Any | None, trouble: str) -> None:
        if trouble and not self._trouble:
            sys.stderr.write(f"reachthru: {output.plain(trouble)}; trying again\n")
        self._trouble = trouble
        if answer is None:
            return
        items = {self._listing.key(item): item for item in self._listing.sorted_items(answer)}
        if self._seen is None and not self._as_json:
            output.show_line([column.name.upper() for column in self._listing.columns])
        seen = self._seen or {}
        for key, item in items.items():
            if seen.get(key) != self._row(item):
                self._say(item)
        self._seen = {key: self._row(item) for key, item in items.items()}

    def _say(self, item: Item) -> None:
        if self._as_json:
            output.show_json(item)
        else:
            output.show_line(self._listing.plain_row(item))

    def _row(self, item: Item) -> Any:
        return item if self._as_json else self._listing.plain_row(item)
