"""How the two kinds of databases are opened, and what their errors mean."""

import contextlib
import os
import socket
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 8
# What a controller that hangs in mid-transaction has locked is free again after this.
IDLE_IN_TRANSACTION_S = 10
SQLITE_BUSY_S = 5

# Several controllers got in each other's way; the same again may well succeed.
_CONFLICTS = frozenset({"40001", "40P01", "55P03"})
_READ_ONLY = "25006"  # the server is a standby, now: another one is not
_DISK_FULL = "53100"
_HAS_WRITTEN = text("SELECT count(pg_current_xact_id_if_assigned())")


def open_engine(url: URL) -> Engine:
    """Raises what `sqlalchemy.create_engine` does, and `OSError`."""
    if url.get_backend_name() == "sqlite":
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if url.get_backend_name() != "postgresql":
        return create_engine(url)
    # A word in the URL goes first.
    arguments = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": STATEMENT_TIMEOUT_S * 1000,
        "application_name": "reachthru-controller",
        "options": f"-c statement_timeout={STATEMENT_TIMEOUT_S * 1000}"
        f" -c lock_timeout={SQLITE_BUSY_S * 1000}"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_S * 1000}",
    }
    # One thread, one connection.
    engine = create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        connect_args={key: value for key, value in arguments.items() if key not in url.query},
    )
    event.listen(engine, "handle_error", _notice_failover)
    return engine


def writing(engine: Engine) -> Engine:
    """The same, for transactions that write."""
    return engine.execution_options(reachthru_writes=True)


def cut(connection: Any) -> None:
    """Ends psycopg's connection from another thread: whoever waits for its server waits no more."""
    with (
        contextlib.suppress(Exception),  # it is gone already
        socket.socket(fileno=os.dup(connection.fileno())) as carrier,
    ):
        carrier.shutdown(socket.SHUT_RDWR)


def count_written(connection: Connection) -> int:
    """Grows when the transaction has changed something."""
    if connection.dialect.name == "sqlite":
        changes: int = connection.connection.dbapi_connection.total_changes  # type: ignore[union-attr]
        return changes
    return int(connection.execute(_HAS_WRITTEN).scalar_one())


def is_conflict(error: Exception) -> bool:
    return _sqlstate(error) in _CONFLICTS


def is_lost_connection(error: Exception) -> bool:
    """Whether nobody answers."""
    if not isinstance(error, DBAPIError) or _sqlstate(error) == _READ_ONLY:
        return False  # a read-only one may be all there is: it can be read at once
    if error.connection_invalidated:
        return True
    # psycopg has no SQLSTATE for what it could not even ask a server.
    on_server = type(error.orig).__module__.startswith("psycopg")
    return isinstance(error, OperationalError) and on_server and _sqlstate(error) is None


def is_full(error: Exception) -> bool:
    """The database, or its disk, has no room."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_FULL or _sqlstate(error) == _DISK_FULL


def is_of_data(error: Exception) -> bool:
    """What was to be written is to blame, and will never be taken."""
    return isinstance(error, DataError | IntegrityError) or not isinstance(
        error, SQLAlchemyError | OSError
    )


def _sqlstate(error: Exception) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, before anything is read
    cursor = connection.cursor()
    # FULL: a commit that returned survives a loss of power, which is when faults come in.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={SQLITE_BUSY_S * 1000}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # What reads first and writes then would fail if another process wrote in between.
    writes = connection.get_execution_options().get("reachthru_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _notice_failover(context: ExceptionContext) -> None:
    """The next connection may be to another server of the URL's, which takes writes."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True
