"""The client for asyncio. The one file of the guest's that imports it: the daemon never does."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from reachthru.guest_daemon.client.conversation import (
    DEFAULT_PATH,
    TIMEOUT_S,
    Answer,
    Conversation,
    Event,
    Members,
    encode_request,
    read_members,
)
from reachthru.guest_daemon.errors import DoorError, NoDaemonError


class AsyncClient:
    """`Client`, for one event loop: `async with AsyncClient() as client: ...`.

    Its methods may be called from several tasks at once; `events` and `next_event` from one.
    Requests take turns, and `members` may take seconds when the host is slow: an application
    that beats often asks for the members with a client of its own.
    """

    def __init__(self, path: str = DEFAULT_PATH, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._conversation = Conversation(path)
        self._one_request = asyncio.Lock()
        self._arrived = asyncio.Condition()
        self._failure: DoorError | None = None
        self._writer: asyncio.StreamWriter
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        path = self._conversation.path
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, self._writer = await asyncio.open_unix_connection(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NoDaemonError(f"{path}: no reachthru-guest is running here") from error
        except TimeoutError as error:
            raise self._no_answer() from error
        except OSError as error:
            raise DoorError(f"{path}: {error.strerror}") from error
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._reading.cancel()
        self._writer.close()

    async def register(self, name: str, interval_ms: int) -> None:
        """From now on this application is part of the VM's health, and beats each interval."""
        await self._ask("register", name=name, interval_ms=interval_ms)

    async def beat(self, healthy: bool = True, log_msg: str = "") -> None:
        """At least once an interval; `log_msg` says what is wrong."""
        await self._ask("beat", healthy=healthy, log_msg=log_msg)

    async def leave(self) -> None:
        """No part of the VM's health any more."""
        await self._ask("leave")

    async def broadcast(self, data: str) -> int:
        """As `Client.broadcast`."""
        return int((await self._ask("broadcast", data=data))["id"])

    async def members(self) -> Members:
        """Every VM of the group as it is now."""
        return read_members(await self._ask("members"))

    async def listen(self) -> None:
        """From now on `events` gives the group's broadcasts and notifications, too."""
        await self._ask("listen")

    async def next_event(self) -> Event:
        """The next event, however long it takes; `asyncio.timeout` bounds it."""
        async with self._arrived:
            while (event := self._conversation.take_event()) is None:
                await self._wait()
        return event

    async def events(self) -> AsyncIterator[Event]:
        """Events as they come, without end."""
        while True:
            yield await self.next_event()

    async def status(self) -> dict[str, Any]:
        """What `reachthru-guest status --json` prints."""
        return await self._ask("status")

    async def check(self) -> dict[str, Any]:
        """As `status`, after every health check has run."""
        return await self._ask("check")

    # --- helpers -----------------------------------------------------------------------------

    async def _ask(self, op: str, **fields: Any) -> Answer:
        request = encode_request(op, fields)
        async with self._one_request:
            # A request that was given up leaves an answer behind that would be the next one's:
            # such a connection is of no use any more.
            if self._failure is not None:
                raise self._failure
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._writer.write(request)
                    answer = await self._answer()
            except TimeoutError as error:
                self._failure = self._no_answer()
                raise self._failure from error
            except asyncio.CancelledError:
                self._failure = DoorError(f"{self._conversation.path}: a request was given up")
                raise
        return self._conversation.check(answer)

    async def _answer(self) -> Answer:
        async with self._arrived:
            while not self._conversation.answers:
                await self._wait()
            return self._conversation.answers.popleft()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        await self._arrived.wait()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while self._failure is None:
            try:
                data = await reader.read(65536)
            except OSError:
                data = b""
            async with self._arrived:
                if data:
                    try:
                        self._conversation.feed(data)
                    except DoorError as error:
                        self._failure = error
                else:
                    self._failure = DoorError(
                        f"{self._conversation.path}: the daemon closed the connection"
                    )
                self._arrived.notify_all()

    def _no_answer(self) -> DoorError:
        return DoorError(f"{self._conversation.path}: no answer within {self._timeout_s:g} s")
