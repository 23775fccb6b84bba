"""One look at the database, for an operator who wants to know what is wrong. It blocks, and
changes nothing.
"""

import sqlite3
import time
from pathlib import Path

from msgspec import Struct
from sqlalchemy import Connection, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from reachthru.controller_server.store import schema
from reachthru.controller_server.store.clock import now_s
from reachthru.controller_server.store.database import DatabaseError
from reachthru.controller_server.store.deliveries import Backlog, count_pending
from reachthru.controller_server.store.engine import open_engine
from reachthru.controller_server.store.tables import PENDING, deliveries
from reachthru.secret_files import shown_url


class Look(Struct, frozen=True, kw_only=True):
    """`server`: the database's name and version. `version` is its schema's, `trouble` why this
    reachthru can't work with that ("" : it can).

    `ahead_s`: the database's clock, as far as it is ahead of this machine's; within half a round
    trip. `backlog` and `last_errors` are by sink, of what has not been told.
    """

    server: str
    version: int
    trouble: str
    ahead_s: float
    backlog: dict[str, Backlog] = {}
    last_errors: dict[str, str] = {}


class NotMadeError(Exception):
    """SQLite's file is not there: no controller has run yet."""


def look(url: str) -> Look:
    """Raises `DatabaseError`, `NotMadeError`."""
    shown = shown_url(url)
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            file = Path(parsed.database or "")
            if not file.exists():
                raise NotMadeError(f"{file} is not there yet")
        engine = open_engine(parsed)
        try:
            with engine.connect() as connection:
                return _look(connection)
        finally:
            engine.dispose()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(f"not sqlite:////path or the like: {error}") from error
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseError(f"{shown}: {' '.join(str(cause).split())}") from error


def _look(connection: Connection) -> Look:
    now_s(connection)  # whatever the first question costs
    before = time.time()
    there = now_s(connection)
    ahead_s = there - (before + time.time()) / 2
    server = _server(connection)
    version = schema.version(connection)
    try:
        schema.check(connection)
    except schema.SchemaError as error:
        return Look(server=server, version=version, trouble=str(error), ahead_s=ahead_s)
    rows = connection.execute(
        select(deliveries.c.sink, deliveries.c.last_error)
        .where(deliveries.c.state == PENDING, deliveries.c.last_error.is_not(None))
        .order_by(deliveries.c.change_id.desc())
        .limit(1000)
    )
    return Look(
        server=server,
        version=version,
        trouble="",
        ahead_s=ahead_s,
        backlog=count_pending(connection),
        last_errors={row.sink: row.last_error for row in rows},
    )


def _server(connection: Connection) -> str:
    dialect = connection.dialect
    numbers = getattr(dialect, "server_version_info", None) or ()
    if dialect.name == "sqlite":
        numbers = sqlite3.sqlite_version_info
    names = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
    return f"{names.get(dialect.name, dialect.name)} {'.'.join(map(str, numbers))}".strip()
