"""The time that all controllers of one database agree on."""

import time

from sqlalchemy import Connection, text

_POSTGRESQL_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")


def now_s(connection: Connection) -> float:
    """Seconds since 1970: PostgreSQL's clock; on SQLite, which is one machine, that machine's."""
    if connection.dialect.name == "postgresql":
        now: float = connection.execute(_POSTGRESQL_NOW).scalar_one()
        return now
    return time.time()
