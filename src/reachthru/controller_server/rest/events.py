"""GET /v1/events: server-sent events `fault`, `instance` and `host`, as they happen."""

from collections.abc import AsyncIterator

from litestar import get
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.response import ServerSentEvent, ServerSentEventMessage

from reachthru.controller_server.events import EventHub, Follower, TooManyFollowersError
from reachthru.controller_server.state import ControllerState


@get("/v1/events")
async def get_events(controller: NamedDependency[ControllerState]) -> ServerSentEvent:
    try:
        follower = controller.events.follow()
    except TooManyFollowersError as error:
        raise HTTPException(str(error), status_code=503) from error
    return ServerSentEvent(_stream(controller.events, follower))


async def _stream(hub: EventHub, follower: Follower) -> AsyncIterator[ServerSentEventMessage]:
    try:
        yield ServerSentEventMessage(data=None, comment="following")
        async for event in follower.events():
            if event is None:
                yield ServerSentEventMessage(data=None, comment="alive")
            else:
                yield ServerSentEventMessage(event=event.kind, data=event.data)
    finally:
        hub.leave(follower)
