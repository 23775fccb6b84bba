"""Many rows in one statement, in the words of each kind of database.

PostgreSQL gets them as one parameter, in JSON: psycopg takes longer to read a statement with 500
placeholders than the server to execute it, and a statement for each row takes longer still (stored
and told, a fault of a burst costs half of the CPU). SQLite's `executemany` is a loop in C.

Everything here is made once: SQLAlchemy takes longer to make a statement than to have it executed.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Executable,
    Table,
    TableValuedAlias,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    column,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

Among = Callable[[ColumnElement[Any], str], ColumnElement[bool]]

_encode = msgspec.json.Encoder().encode


class Statement:
    """`make` is given `among`: (column, name) is true where the list `name` has the column."""

    def __init__(self, make: Callable[[Among], Executable]) -> None:
        self._made = {"postgresql": make(_is_any), "sqlite": make(_is_in)}

    def of(self, connection: Connection) -> Executable:
        return self._made[connection.dialect.name]


class Insertion:
    """Rows of `table`, each with `columns`. What is there already stays, where `or_nothing`."""

    def __init__(self, table: Table, columns: Sequence[str], *, or_nothing: bool = False) -> None:
        new = _recordset(table, columns)
        on_postgresql = postgresql.insert(table).from_select(columns, select(*new.c))
        on_sqlite = sqlite.insert(table)
        if or_nothing:
            on_postgresql = on_postgresql.on_conflict_do_nothing()
            on_sqlite = on_sqlite.on_conflict_do_nothing()
        self._on_postgresql = on_postgresql.execution_options(preserve_rowcount=True)
        self._on_sqlite = on_sqlite.execution_options(preserve_rowcount=True)

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """In their order. Returns how many were not there yet."""
        if not rows:
            return 0
        if connection.dialect.name == "postgresql":
            return connection.execute(self._on_postgresql, _as_json(rows)).rowcount
        return connection.execute(self._on_sqlite, rows).rowcount


class Update:
    """Sets `columns` of the rows of `table` that have a row's `keys`."""

    def __init__(self, table: Table, keys: Sequence[str], columns: Sequence[str]) -> None:
        new = _recordset(table, [*keys, *columns])
        self._on_postgresql = (
            update(table)
            .where(and_(*(table.c[key] == new.c[key] for key in keys)))
            .values({name: new.c[name] for name in columns})
        )
        self._on_sqlite = (
            update(table)
            .where(and_(*(table.c[key] == bindparam(f"of_{key}") for key in keys)))
            .values({name: bindparam(f"of_{name}") for name in columns})
        )

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Returns how many were there."""
        if not rows:
            return 0
        if connection.dialect.name == "postgresql":
            return connection.execute(self._on_postgresql, _as_json(rows)).rowcount
        named = [{f"of_{name}": value for name, value in row.items()} for row in rows]
        return connection.execute(self._on_sqlite, named).rowcount


def _is_any(of: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return of == any_(bindparam(name, type_=postgresql.ARRAY(of.type)))


def _is_in(of: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return of.in_(bindparam(name, expanding=True))


def _recordset(table: Table, columns: Collection[str]) -> TableValuedAlias:
    """The parameter `rows` as a table called `new`."""
    rows = cast(bindparam("rows", type_=Text), JSON)
    named = (column(name, table.c[name].type) for name in columns)
    return (
        func.json_to_recordset(rows)
        .table_valued(*named, name="new")
        .render_derived(with_types=True)
    )


def _as_json(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {"rows": _encode(rows).decode()}
