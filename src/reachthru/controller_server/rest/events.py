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
    """Ends when the caller's token does. `Last-Event-ID`: what came after it is told first; an
    event `resync` in its place says that this can't be done, so that everything must be read anew.
    """
    try:
        follower = controller.events.follow(request.headers.get("last-event-id"))
    except TooManyFollowersError as error:
        raise HTTPException(str(error), status_code=503) from error
    # Who is told what it has missed has not got that far, yet.
    first_id = None if follower.waiting else controller.events.last_id
    visitor = request.scope.get("user")
    return ServerSentEvent(_stream(controller.events, follower, visitor, first_id))


async def _stream(
    hub: EventHub, follower: Follower, visitor: Visitor | None, first_id: str | None
) -> AsyncIterator[ServerSentEventMessage]:
    ending = asyncio.create_task(_end(follower, visitor)) if visitor is not None else None
    try:
        yield ServerSentEventMessage(data=None, comment="following", id=first_id)
        async for event in follower.events():
            if event is None:
                yield ServerSentEventMessage(data=None, comment="alive")
            else:
                yield ServerSentEventMessage(event=event.kind, data=event.data, id=event.id)
    finally:
        if ending is not None:
            ending.cancel()
        hub.leave(follower)


async def _end(follower: Follower, visitor: Visitor) -> None:
    await visitor.until_unwelcome()
    follower.end()
