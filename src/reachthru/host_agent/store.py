"""The outbox's file: SQLite on a thread of its own, many writes to a commit.

What has to be durable waits for a flush of the disk, and the event loop must not. Writes that
arrive while one is being flushed share the next commit.
"""

import asyncio
import contextlib
import queue
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

JOBS_A_COMMIT = 1000
MEMORY_DISK = "/dev/shm"  # noqa: S108 - a folder of our own in it
_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS change (seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS active (fault_id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS session (
    instance_uuid TEXT NOT NULL, port TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (instance_uuid, port)
);
"""

Statement = tuple[str, Sequence[Any]]


class StoreError(Exception):
    """The file can't be opened, read or written; one line that says why."""


class Saved(Struct):
    """What an earlier host agent left, each body as it was written.

    `unwritable` says why the file could be read and not written, if that is so.
    """

    last_seq: int = 0
    changes: list[bytes] = []
    active: list[bytes] = []
    sessions: list[tuple[str, str, bytes]] = []
    unwritable: StoreError | None = None


class _Job(Struct):
    work: Callable[[sqlite3.Connection], Any]
    done: Callable[[Any, StoreError | None], None]


class Store:
    """`done` callbacks run on the event loop, in the order of their jobs."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self._loop = loop
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def write(self, statements: list[Statement], done: Callable[[StoreError | None], None]) -> None:
        """All of `statements` or none; then `done`, with what went wrong."""

        def work(connection: sqlite3.Connection) -> None:
            for sql, arguments in statements:
                connection.execute(sql, arguments)

        self._jobs.put(_Job(work, lambda _result, error: done(error)))

    def read(self, done: Callable[[Saved | None, StoreError | None], None]) -> None:
        """Everything that is saved; then `done` with it, or with why it can't be read."""

        def read_or_look(saved: Saved | None, error: StoreError | None) -> None:
            if error is not None:
                with contextlib.suppress(sqlite3.Error, OSError):
                    saved = _look(self.path)
                    saved.unwritable = error
            done(saved, error if saved is None else None)

        self._jobs.put(_Job(_load, read_or_look))

    async def load(self) -> Saved:
        """As `read`. Raises `StoreError`."""
        future: asyncio.Future[Saved] = self._loop.create_future()

        def done(saved: Saved | None, error: StoreError | None) -> None:
            if future.done():
                return
            if saved is not None:
                future.set_result(saved)
            elif error is not None:
                future.set_exception(error)

        self.read(done)
        return await future

    def close(self, timeout_s: float) -> None:
        """After everything that was given to it so far, if the disk allows that in time."""
        self._jobs.put(None)
        self._thread.join(timeout_s)

    # --- the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs, last = self._gather(job)
            results, error = self._commit(jobs)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_finish, jobs, results, error)
            if last:
                break
        if self._connection is not None:
            self._connection.close()

    def _gather(self, job: _Job) -> tuple[list[_Job], bool]:
        jobs = [job]
        while len(jobs) < JOBS_A_COMMIT:
            try:
                another = self._jobs.get_nowait()
            except queue.Empty:
                break
            if another is None:
                return jobs, True
            jobs.append(another)
        return jobs, False

    def _commit(self, jobs: list[_Job]) -> tuple[list[Any], StoreError | None]:
        try:
            if self._connection is None:
                self._connection = self._open()
            with self._connection:
                return [job.work(self._connection) for job in jobs], None
        except (sqlite3.Error, OSError) as error:
            self._drop_connection()
            reason = getattr(error, "strerror", None) or str(error)
            return [None] * len(jobs), StoreError(f"{self.path}: {reason}")

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=5.0)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found not in (0, _FORMAT):
                raise sqlite3.DatabaseError(f"written by another version (format {found})")
            if found == 0:  # a full disk can be read as long as nothing is written
                connection.executescript(f"{_SCHEMA} PRAGMA user_version = {_FORMAT};")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _drop_connection(self) -> None:
        """The next commit opens anew: the file may have been replaced or remounted."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _finish(jobs: list[_Job], results: list[Any], error: StoreError | None) -> None:
    for job, result in zip(jobs, results, strict=True):
        job.done(result, error)


def _load(connection: sqlite3.Connection) -> Saved:
    used = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'change'").fetchone()
    return Saved(
        last_seq=used[0] if used else 0,
        changes=[body for (body,) in connection.execute("SELECT body FROM change ORDER BY seq")],
        active=[body for (body,) in connection.execute("SELECT body FROM active")],
        sessions=list(connection.execute("SELECT instance_uuid, port, body FROM session")),
    )


def _look(path: Path) -> Saved:
    """What is saved in a file that can't be opened for writing. Raises as SQLite and files do.

    SQLite can't read its log where it can't make a file, so a copy in memory is read.
    """
    with tempfile.TemporaryDirectory(prefix="reachthru-", dir=MEMORY_DISK) as folder:
        copy = Path(folder, path.name)
        shutil.copyfile(path, copy)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{path}-wal", f"{copy}-wal")
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            return _load(connection)
