"""What a controller does each second, whether or not there is something to do."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from reachthru.controller_server.store.database import DatabaseError

TICK_S = 1.0


async def each_second(turn: Callable[[float], Awaitable[None]]) -> None:
    """Until cancelled. `turn` gets the monotonic time, and may raise `DatabaseError`."""
    while True:
        await asyncio.sleep(TICK_S)
        with contextlib.suppress(DatabaseError):  # the database itself says so, once
            await turn(time.monotonic())
