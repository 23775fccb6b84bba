"""GET /v1/events: server-sent events `fault`, `instance` and `host`, as they happen."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.response import ServerSentEvent, ServerSentEventMessage

from reachthru.controller_server.events import EventHub, Follower, TooManyFollowersError
from reachthru.controller_server.rest.door import Visitor
from reachthru.controller_server.state import ControllerState


@get("/v1/events")
async def get_events(
    controller: NamedDependency[ControllerState], request: Request[Any, Any, Any]
) -> ServerSentEvent:
    """Ends when the caller's token does."""
    try:
        follower = controller.events.follow()
    except TooManyFollowersError as error:
        raise HTTPException(str(error), status_code=503) from error
    return ServerSentEvent(_stream(controller.events, follower, request.scope.get("user")))


async def _stream(
    hub: EventHub, follower: Follower, visitor: Visitor | None
) -> AsyncIterator[ServerSentEventMessage]:
    ending = asyncio.create_task(_end(follower, visitor)) if visitor is not None else None
    try:
        yield ServerSentEventMessage(data=None, comment="following")
        async for event in follower.events():
            if event is None:
                yield ServerSentEventMessage(data=None, comment="alive")
            else:
                yield ServerSentEventMessage(event=event.kind, data=event.data)
    finally:
        if ending is not None:
            ending.cancel()
        hub.leave(follower)


async def _end(follower: Follower, visitor: Visitor) -> None:
    await visitor.until_unwelcome()
    follower.end()
