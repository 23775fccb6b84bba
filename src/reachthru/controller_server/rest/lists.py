"""What the long lists have in common: ?search=, verdict=, sort=, offset= and limit=."""

from typing import Annotated

from litestar.params import QueryParameter

from reachthru.controller_server.overview.paging import Question

LIMIT_MAX = 10_000
SEARCH_LIMIT = 200  # characters

Search = Annotated[str, QueryParameter(max_length=SEARCH_LIMIT)]
Offset = Annotated[int, QueryParameter(ge=0)]
Limit = Annotated[int | None, QueryParameter(ge=1, le=LIMIT_MAX)]


def question(search: str, sort: str, offset: int, limit: int | None) -> Question:
    return Question(search=search, sort=sort, offset=offset, limit=limit)
