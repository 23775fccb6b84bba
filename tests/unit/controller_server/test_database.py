"""One thread, one transaction for all that waits."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.tables import metadata


def insert_host(name):
    return lambda connection: connection.execute(
        text("INSERT INTO hosts VALUES (:name, 'online', '1', 0, 0.0, 'now', false)"),
        {"name": name},
    )


def count_hosts(connection):
    return connection.execute(text("SELECT count(*) FROM hosts")).scalar_one()


async def test_the_migrations_make_exactly_the_tables_of_the_code(database):
    differences = await database.read(
        lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
    )
    assert differences == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_was_committed_survives_a_loss_of_power(database):
    pragmas = await database.read(
        lambda connection: [
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    )
    assert pragmas == ["wal", 2, 1]


async def test_what_waits_is_one_transaction(database):
    began = []

    def operation(connection):
        began.append(id(connection))

    await asyncio.gather(*(database.write(operation) for _ in range(50)))
    assert len(set(began)) == 1


async def test_one_bad_write_harms_no_other(database):
    writes = [insert_host("a"), insert_host("a"), insert_host("b"), insert_host(None)]
    outcomes = await asyncio.gather(
        *(database.write(write) for write in writes), return_exceptions=True
    )
    assert [isinstance(outcome, DatabaseError) for outcome in outcomes] == [
        False, True, False, True,
    ]  # fmt: skip
    assert await database.read(count_hosts) == 2


async def test_a_write_that_nobody_waits_for_any_more_is_done_all_the_same(database):
    writing = asyncio.create_task(database.write(insert_host("a")))
    await asyncio.sleep(0)
    writing.cancel()
    await database.write(insert_host("b"))
    assert await database.read(count_hosts) == 2


async def test_a_database_that_takes_nothing_is_not_ready(database, database_url):
    await database.ping()
    with create_engine(database_url).begin() as connection:
        connection.execute(text("DROP TABLE hosts"))
    with pytest.raises(DatabaseError, match="hosts"):
        await database.write(insert_host("a"))
    with pytest.raises(DatabaseError, match="last write failed"):
        await database.ping()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////proc/nothing/here.sqlite", "here.sqlite"),
        ("nonsense", "sqlite:////path"),
        ("oracle9://x", "oracle9"),
    ],
)
async def test_a_database_that_cant_be_opened_is_said_in_one_line(url, words):
    database = Database(url)
    with pytest.raises(DatabaseError) as refusal:
        await database.open()
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    await database.close()


async def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "x.sqlite").write_text("this is a text, and quite a long one at that" * 100)
    database = Database(f"sqlite:///{tmp_path}/x.sqlite")
    with pytest.raises(DatabaseError, match="not a database"):
        await database.open()
    await database.close()
