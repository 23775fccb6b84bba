"""The time that all controllers of one database agree on."""

import time

from sqlalchemy import Connection, text

_POSTGRESQL_NOW = text("SELECT extract(epoch FROM transaction_timestamp())::float8")
_ASKED = "reachthru now"


def now_s(connection: Connection) -> float:
    """Seconds since 1970: PostgreSQL's clock; on SQLite, which is one machine, that machine's.

    It stands still during a transaction, and is asked for once.
    """
    if connection.dialect.name != "postgresql":
        return time.time()
    asked: tuple[object, float] | None = connection.info.get(_ASKED)
    if asked is None or asked[0] is not connection.get_transaction():
        now: float = connection.execute(_POSTGRESQL_NOW).scalar_one()
        asked = connection.info[_ASKED] = (connection.get_transaction(), now)
    return asked[1]
