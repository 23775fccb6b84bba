"""One database, one thread that talks to it, and group commit.

SQLAlchemy blocks, so it stays off the event loop. Everything that waits to be written when the
thread is free goes into one transaction: a burst of 10,000 faults costs some dozen waits for the
disk and not 10,000.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)

from reachthru.secret_files import shown_url

Result = TypeVar("Result")
Operation = Callable[[Connection], Any]

_MIGRATIONS = Path(__file__).parent / "migrations"
_log = logging.getLogger(__name__)


class DatabaseError(Exception):
    """The database can't be opened or did not take something; one line for the operator.

    `of_data`: what was to be written is to blame, and will never be taken.
    """

    def __init__(self, text: str, *, of_data: bool = False) -> None:
        super().__init__(text)
        self.of_data = of_data


class Database:
    """`url` is SQLAlchemy's, e.g. `sqlite:////var/lib/reachthru/controller.sqlite`.

    Operations are functions of a connection and run on the database's thread. Every method
    raises `DatabaseError`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._waiting: list[tuple[Operation, asyncio.Future[Any]]] = []
        self._committer: asyncio.Task[None] | None = None
        self.healthy = False

    async def open(self) -> None:
        """Makes the file's folder and the tables where they are missing."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        self.healthy = True

    async def close(self) -> None:
        """After what is being written."""
        if self._committer is not None:
            await self._committer
        if self._engine is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown(wait=False)

    async def write(self, operation: Callable[[Connection], Result]) -> Result:
        """Returns what `operation` returned, once it is committed."""
        written: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, written))
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit_waiting(), name="group commit")
        return await written

    async def read(self, operation: Callable[[Connection], Result]) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._read, operation)

    async def ping(self) -> None:
        """Raises `DatabaseError` when there is no database, or it took no write lately."""
        await self.read(lambda connection: connection.execute(text("SELECT 1")))
        if not self.healthy:
            raise DatabaseError(f"{self}: the last write failed")

    def __str__(self) -> str:
        return shown_url(self._url)

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            operations = [operation for operation, _written in batch]
            outcomes = await loop.run_in_executor(self._thread, self._commit, operations)
            self.healthy = not any(
                isinstance(outcome, DatabaseError) and not outcome.of_data for outcome in outcomes
            )
            for (_operation, written), outcome in zip(batch, outcomes, strict=True):
                if written.done():  # whoever waited was cancelled
                    continue
                if isinstance(outcome, DatabaseError):
                    written.set_exception(outcome)
                else:
                    written.set_result(outcome)

    def _commit(self, operations: list[Operation]) -> list[Any]:
        """What each operation returned, or its `DatabaseError`."""
        try:
            with self._required_engine().begin() as connection:
                return [operation(connection) for operation in operations]
        except DatabaseError as error:
            return [error] * len(operations)
        except Exception as error:  # an agent's number may be too large for a column, say
            if len(operations) == 1:
                return [self._explained(error)]
        # One of them is to blame, and the others must not suffer for it.
        return [outcome for operation in operations for outcome in self._commit([operation])]

    def _read(self, operation: Callable[[Connection], Result]) -> Result:
        try:
            with self._required_engine().connect() as connection:
                return operation(connection)
        except SQLAlchemyError as error:
            raise self._explained(error) from error

    def _open(self) -> None:
        try:
            url = make_url(self._url)
            if url.get_backend_name() == "sqlite" and url.database:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(url)
            if url.get_backend_name() == "sqlite":
                event.listen(engine, "connect", _prepare_sqlite)
            with engine.begin() as connection:
                migrations = Config()
                migrations.set_main_option("script_location", str(_MIGRATIONS))
                migrations.attributes["connection"] = connection
                command.upgrade(migrations, "head")
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise DatabaseError(f"not sqlite:////path or the like: {error}") from error
        except (SQLAlchemyError, OSError, CommandError) as error:
            raise self._explained(error) from error
        self._engine = engine

    def _required_engine(self) -> Engine:
        if self._engine is None:
            raise DatabaseError(f"{self}: not open")
        return self._engine

    def _explained(self, error: Exception) -> DatabaseError:
        cause = getattr(error, "orig", None) or error
        return DatabaseError(
            f"{self}: {' '.join(str(cause).split())}",
            of_data=isinstance(error, DataError | IntegrityError)
            or not isinstance(error, SQLAlchemyError | OSError | CommandError),
        )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # FULL: a commit that returned survives a loss of power, which is when faults come in.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
