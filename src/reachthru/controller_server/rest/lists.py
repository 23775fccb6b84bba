"""What the long lists have in common: ?search=, verdict=, sort=, offset= and limit=."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated

from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from reachthru.controller_server.overview.overview import Judged, Subject
from reachthru.controller_server.overview.paging import Page, Question, SortKey, page_of
from reachthru.controller_server.overview.verdicts import Verdict

LIMIT_MAX = 10_000
SEARCH_LIMIT = 200  # characters


class Asked(Struct, frozen=True):
    """`verdict` None: whatever it is."""

    verdict: Verdict | None
    question: Question

    def page(
        self,
        items: Iterable[Judged[Subject]],
        *,
        texts: Callable[[Judged[Subject]], Sequence[str]],
        keys: Mapping[str, SortKey],
    ) -> Page[Judged[Subject]]:
        """Raises `UnknownSortError`."""
        found = [judged for judged in items if self.verdict in (None, judged.verdict)]
        return page_of(found, self.question, texts=texts, keys=keys)


def asked(
    *,
    search: Annotated[str, QueryParameter(max_length=SEARCH_LIMIT)] = "",
    verdict: FromQuery[Verdict | None] = None,
    sort: FromQuery[str] = "",
    offset: Annotated[int, QueryParameter(ge=0)] = 0,
    limit: Annotated[int | None, QueryParameter(ge=1, le=LIMIT_MAX)] = None,
) -> Asked:
    """A dependency of the handlers that list."""
    return Asked(verdict, Question(search=search, sort=sort, offset=offset, limit=limit))
