"""One database, one thread that talks to it, and group commit.

SQLAlchemy blocks, so it stays off the event loop. Everything that waits to be written when the
thread is free goes into one transaction: a burst of 10,000 faults costs some dozen waits for the
disk and not 10,000.

A database that is gone, frozen, full or read-only is said once, and once more when it is well;
whoever wants to write tries again, and whatever is not written is still with its sender.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from alembic.util import CommandError
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from reachthru.controller_server.store import engine as engines
from reachthru.controller_server.store import schema
from reachthru.secret_files import shown_url

Result = TypeVar("Result")
Operation = Callable[[Connection], Any]

FROZEN_S = 15.0  # a server that says nothing for so long is let go
CLOSE_S = 2.0
CONFLICT_TRIES = 5
RECONNECT_MIN_S, RECONNECT_MAX_S = 0.1, 2.0

_chance = random.SystemRandom()
_log = logging.getLogger(__name__)


class DatabaseError(Exception):
    """The database can't be opened or did not take something; one line for the operator.

    `of_data`: what was to be written is to blame, and will never be taken. `of_connection`: there
    is no connection to a server, which may be there later.
    """

    def __init__(self, text: str, *, of_data: bool = False, of_connection: bool = False) -> None:
        super().__init__(text)
        self.of_data = of_data
        self.of_connection = of_connection


class _Waiting(NamedTuple):
    operation: Operation
    written: asyncio.Future[Any]
    last: bool


class Database:
    """`url` is SQLAlchemy's, e.g. `sqlite:////var/lib/reachthru/controller.sqlite`.

    Operations are functions of a connection and run on the database's thread. Every method
    raises `DatabaseError`. An operation may run again after a conflict with another controller
    or a lost connection: it must not change anything but the database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._waiting: list[_Waiting] = []
        self._committer: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._busy: tuple[float, Any] | None = None  # since when, with which connection
        self._trouble_since: float | None = None
        self._wrote = False  # the last transaction changed something
        self._refusals = 0  # of connections, since the last one that was made
        self._reconnect_at = 0.0
        self.full = False  # the last write failed for want of room

    async def open(self) -> None:
        """SQLite gets its folder and tables where they are missing; PostgreSQL is checked."""

        def prepare(connection: Connection) -> None:
            if connection.dialect.name == "sqlite":
                schema.upgrade(connection)
            schema.check(connection)

        await self._in_thread(self._open, prepare)
        self._watcher = asyncio.create_task(self._watch(), name="database watch")

    async def upgrade(self) -> tuple[int, int]:
        """Brings the newest tables. Returns the schema's version before and after."""

        def prepare(connection: Connection) -> tuple[int, int]:
            before = schema.upgrade(connection)
            schema.check(connection)
            return before, schema.version(connection)

        return await self._in_thread(self._open, prepare)

    async def version(self) -> tuple[int, int]:
        """Of the database's tables, and the newest that is known here."""
        return await self._in_thread(
            self._open, lambda connection: (schema.version(connection), schema.own_version())
        )

    async def close(self) -> None:
        """After what is being written, if that takes no longer than `CLOSE_S`."""
        if self._committer is not None:
            await asyncio.wait([self._committer], timeout=CLOSE_S)
            if not self._committer.done() and self._busy is not None:
                engines.cut(self._busy[1])
        if self._watcher is not None:
            self._watcher.cancel()
        if self._engine is not None:
            await self._in_thread(self._engine.dispose)
        self._thread.shutdown(wait=False)

    async def write(
        self, operation: Callable[[Connection], Result], *, last: bool = False
    ) -> Result:
        """Returns what `operation` returned, once it is committed.

        `last`: it locks what it finds unlocked and waits for nobody. Within a transaction, it
        runs after those that may wait: so no two controllers can wait for each other.
        """
        written: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(operation, written, last))
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit_waiting(), name="group commit")
        return await written

    async def read(self, operation: Callable[[Connection], Result]) -> Result:
        outcome = await self._in_thread(self._read, operation)
        if isinstance(outcome, DatabaseError):
            raise outcome
        result: Result = outcome
        return result

    async def ping(self) -> None:
        """Raises `DatabaseError` when there is no database, or it took no write lately."""
        await self.read(lambda connection: connection.execute(text("SELECT 1")))
        if self._trouble_since is not None:
            raise DatabaseError(f"{self}: the last write failed")

    def __str__(self) -> str:
        return shown_url(self._url)

    async def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        loop = asyncio.get_running_loop()
        try:
            running = loop.run_in_executor(self._thread, work, *arguments)
        except RuntimeError as error:  # of a part that still runs when the others have stopped
            raise DatabaseError(f"{self}: closed") from error
        return await running

    async def _commit_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = sorted(self._waiting, key=lambda item: item.last), []
            outcomes = await self._in_thread(self._commit, [item.operation for item in batch])
            self._note(outcomes)
            for item, outcome in zip(batch, outcomes, strict=True):
                if item.written.done():  # whoever waited was cancelled
                    continue
                if isinstance(outcome, DatabaseError):
                    item.written.set_exception(outcome)
                else:
                    item.written.set_result(outcome)

    def _note(self, outcomes: list[Any]) -> None:
        """Says what is new about the database's health."""
        for outcome in outcomes:
            if isinstance(outcome, DatabaseError) and not outcome.of_data:
                if self._trouble_since is None:
                    _log.error("%s; nothing is lost, trying again and again", outcome)
                    self._trouble_since = time.monotonic()
                return
        # A full or read-only one still lets us look whether there is something to do.
        if self._trouble_since is not None and self._wrote:
            took_s = time.monotonic() - self._trouble_since
            _log.warning("%s: it takes everything again, after %.1f s", self, took_s)
            self._trouble_since = None
            self.full = False

    def _commit(self, operations: list[Operation]) -> list[Any]:
        """What each operation returned, or its `DatabaseError`."""
        try:
            return self._try(self._transaction, operations)
        except DatabaseError as error:
            return [error] * len(operations)
        except Exception as error:  # an agent's number may be too large for a column, say
            self.full = self.full or engines.is_full(error)
            if len(operations) == 1 or engines.is_lost_connection(error):
                return [self._explained(error)] * len(operations)
        # One of them is to blame, and the others must not suffer for it.
        return [outcome for operation in operations for outcome in self._commit([operation])]

    def _transaction(self, operations: list[Operation]) -> list[Any]:
        with engines.writing(self._required_engine()).begin() as connection:
            if self._trouble_since is None:  # nobody asks whether anything was written
                return [operation(connection) for operation in operations]
            written_before = engines.count_written(connection)
            outcomes = [operation(connection) for operation in operations]
            self._wrote = engines.count_written(connection) > written_before
            return outcomes

    def _read(self, operation: Callable[[Connection], Result]) -> Result | DatabaseError:
        def work(operation: Callable[[Connection], Result]) -> Result:
            with self._required_engine().connect() as connection:
                return operation(connection)

        try:
            return self._try(work, operation)
        except DatabaseError as error:
            return error
        except SQLAlchemyError as error:
            return self._explained(error)

    def _try(self, work: Callable[[Any], Result], argument: Any) -> Result:
        """Again after a conflict, and on a new connection after the loss of one."""
        if time.monotonic() < self._reconnect_at:
            raise DatabaseError(f"{self}: no connection; the next try is soon", of_connection=True)
        tries = 0
        while True:
            tries += 1
            try:
                result = work(argument)
                self._refusals = 0
                return result
            except SQLAlchemyError as error:
                if engines.is_lost_connection(error):
                    if tries > 1:
                        self._space_the_tries()
                        raise
                elif engines.is_conflict(error) and tries < CONFLICT_TRIES:
                    time.sleep(_chance.uniform(0.0, 0.05) * tries)
                # The other one's row was not visible before it was in the way.
                elif not (isinstance(error, IntegrityError) and tries == 1):
                    raise

    def _space_the_tries(self) -> None:
        longest = min(RECONNECT_MAX_S, RECONNECT_MIN_S * 2.0 ** min(self._refusals, 10))
        self._refusals += 1
        self._reconnect_at = time.monotonic() + longest * _chance.uniform(0.5, 1.0)

    async def _watch(self) -> None:
        """A frozen server's connection is cut, or the thread would wait for it for ever."""
        while True:
            await asyncio.sleep(1.0)
            busy = self._busy
            if busy is not None and time.monotonic() - busy[0] > FROZEN_S:
                _log.error("%s: it says nothing for %.0f s; the connection is cut", self, FROZEN_S)
                engines.cut(busy[1])

    def _open(self, prepare: Callable[[Connection], Result]) -> Result:
        try:
            url = make_url(self._url)
            engine = engines.open_engine(url)
            if url.get_backend_name() == "postgresql":
                event.listen(engine, "checkout", self._checked_out)
                event.listen(engine, "checkin", self._checked_in)
            with engines.writing(engine).begin() as connection:
                prepared = prepare(connection)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise DatabaseError(f"not sqlite:////path or the like: {error}") from error
        except schema.SchemaError as error:
            raise DatabaseError(f"{self}: {error}") from error
        except (SQLAlchemyError, OSError, CommandError) as error:
            raise self._explained(error) from error
        if self._engine is not None:
            self._engine.dispose()
        self._engine = engine
        return prepared

    def _checked_out(self, connection: Any, _record: object, _proxy: object) -> None:
        self._busy = (time.monotonic(), connection)

    def _checked_in(self, _connection: Any, _record: object) -> None:
        self._busy = None

    def _required_engine(self) -> Engine:
        if self._engine is None:
            raise DatabaseError(f"{self}: not open")
        return self._engine

    def _explained(self, error: Exception) -> DatabaseError:
        cause = getattr(error, "orig", None) or error
        return DatabaseError(
            f"{self}: {' '.join(str(cause).split())}",
            of_data=engines.is_of_data(error),
            of_connection=engines.is_lost_connection(error),
        )
