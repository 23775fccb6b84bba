"""GET /v1/summary: how many of everything are how."""

from litestar import get
from litestar.di import NamedDependency

from reachthru.controller_server.overview.model import Summary
from reachthru.controller_server.overview.overview import Overview


@get("/v1/summary")
async def get_summary(overview: NamedDependency[Overview]) -> Summary:
    return await overview.summary()
