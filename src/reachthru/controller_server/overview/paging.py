"""A part of a long list: searched, sorted, cut. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

Item = TypeVar("Item")
SortKey = Callable[[Any], Any]


class UnknownSortError(ValueError):
    """Nothing is sorted by this; one line that says by what."""


class Question(Struct, frozen=True, kw_only=True):
    """`sort` is a key's name, with "-" before it from the last to the first; "": as it is.

    `search` is found in any of the texts, whatever the case. `limit` None: all from `offset` on.
    """

    search: str = ""
    sort: str = ""
    offset: int = 0
    limit: int | None = None


class Page(Struct, Generic[Item]):
    """`total`: how many there are before the cut."""

    items: Sequence[Item]
    total: int


def page_of(
    items: Sequence[Item],
    question: Question,
    *,
    texts: Callable[[Item], Sequence[str]],
    keys: Mapping[str, SortKey],
) -> Page[Item]:
    """Raises `UnknownSortError`."""
    wanted = question.search.strip().casefold()
    if wanted:
        items = [item for item in items if any(wanted in text.casefold() for text in texts(item))]
    if question.sort:
        key = keys.get(question.sort.removeprefix("-"))
        if key is None:
            raise UnknownSortError(f"sort = {question.sort}: must be one of {', '.join(keys)}")
        items = sorted(items, key=key, reverse=question.sort.startswith("-"))
    end = None if question.limit is None else question.offset + question.limit
    return Page(items[question.offset : end], len(items))
