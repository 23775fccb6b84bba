"""Upgrades of the tables: one controller after the other, the database first."""

import asyncio

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from reachthru.controller_server import cli
from reachthru.controller_server.store import schema
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.controller_server.store.ledger import Ledger
from reachthru.controller_server.store.queries import FaultFilter

NEXT_VERSION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision:04d}"
down_revision = "{before:04d}"


def upgrade():
    op.create_table("novelties", sa.Column("id", sa.Integer, primary_key=True))
    for table in ("hosts", "instances", "faults", "fault_changes", "deliveries", "leases"):
        op.add_column(table, sa.Column("novelty", sa.Integer, server_default="7", nullable=False))
    op.create_index("novel", "deliveries", ["sink", "novelty"])
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgresql_url")
    return f"sqlite:///{tmp_path}/controller.sqlite"


def migrate(url, revision, more=None):
    """To `revision`; `more`: a folder with further versions."""
    config = schema._config()
    if more is not None:
        own = config.get_main_option("script_location") + "/versions"
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", f"{own}\n{more}")
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def versions():
    found = ScriptDirectory.from_config(schema._config()).walk_revisions()
    return sorted(revision.revision for revision in found)


def described(url):
    """{table: {column: (type, nullable, has a default)}}, and each table's unique keys."""
    engine = create_engine(url)
    there = inspect(engine)
    columns = {
        table: {
            column["name"]: (str(column["type"]), column["nullable"], column["default"] is not None)
            for column in there.get_columns(table)
        }
        for table in there.get_table_names()
    }
    unique = {
        table: {tuple(key["column_names"]) for key in there.get_unique_constraints(table)}
        | {tuple(index["column_names"]) for index in there.get_indexes(table) if index["unique"]}
        for table in columns
    }
    engine.dispose()
    return columns, unique


def test_versions_are_numbers_without_gaps():
    assert [int(revision) for revision in versions()] == list(range(1, len(versions()) + 1))


def test_every_migration_only_adds_what_an_older_controller_need_not_know(empty_url):
    migrate(empty_url, versions()[0])
    columns, unique = described(empty_url)
    for revision in versions()[1:]:
        migrate(empty_url, revision)
        newer_columns, newer_unique = described(empty_url)
        for table, old in columns.items():
            new = newer_columns[table]
            assert {name: new.get(name) for name in old} == old, revision
            for name in new.keys() - old.keys():
                _type, nullable, has_default = new[name]
                assert nullable or has_default, f"{revision}: an older one can't fill in {name}"
            assert newer_unique[table] == unique[table], revision
        columns, unique = newer_columns, newer_unique


async def test_a_controller_works_with_a_schema_one_version_newer(tmp_path, empty_url, arrived):
    own = schema.own_version()
    (tmp_path / "next").mkdir()
    for revision in (own + 1, own + 2):
        script = NEXT_VERSION.format(revision=revision, before=revision - 1)
        if revision == own + 2:
            script = script.partition("def upgrade")[0] + "def upgrade():\n    pass\n"
        (tmp_path / "next" / f"v{revision}.py").write_text(script)
    running = Database(empty_url)
    await running.upgrade()
    ledger = Ledger(running, ["log"], "running")
    await ledger.add([arrived(1)])

    migrate(empty_url, f"{own + 1:04d}", tmp_path / "next")
    await ledger.add([arrived(2)])  # the one that runs goes on
    starting = Database(empty_url)
    await starting.open()  # and one that starts does too
    other = Ledger(starting, ["log"], "starting")
    claimer = other.claimer("log", 5.0)
    assert len(await other.claim(claimer, 10)) == 1  # of one instance, in order
    assert len(await ledger.faults(FaultFilter())) == 2
    await running.close()
    await starting.close()

    migrate(empty_url, f"{own + 2:04d}", tmp_path / "next")
    late = Database(empty_url)
    with pytest.raises(DatabaseError, match="upgrade this controller"):
        await late.open()
    await late.close()


@pytest.mark.parametrize("there", ["nothing", "0001"])
async def test_on_postgresql_an_operator_says_when_to_upgrade(empty_postgresql_url, there):
    if there != "nothing":
        migrate(empty_postgresql_url, there)
    database = Database(empty_postgresql_url)
    with pytest.raises(DatabaseError, match="run reachthru-controller db upgrade"):
        await database.open()
    await database.close()


async def test_many_upgrades_at_once_are_one(empty_url):
    databases = [Database(empty_url) for _ in range(5)]
    outcomes = await asyncio.gather(*(database.upgrade() for database in databases))
    own = schema.own_version()
    assert sorted(outcomes) == [(0, own)] + [(own, own)] * 4
    for database in databases:
        await database.close()


async def test_what_the_first_version_stored_is_told(empty_url):
    migrate(empty_url, "0001")
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        for number, instance in enumerate(["uuid-1", "uuid-1", ""], start=1):
            for statement in (
                f"INSERT INTO faults VALUES ('f{number}', 'unhealthy', 'major', 'raised',"
                f" '{instance}', 'db', 'compute-0', '2026-01-01T00:00:00+00:00', NULL, 'log',"
                f" {number})",
                f"INSERT INTO fault_changes VALUES ({number}, 'f{number}', 'raised', '', '{{}}',"
                " NULL)",
                f"INSERT INTO deliveries VALUES ({number}, 'log', 'pending', 0, NULL, NULL, NULL)",
            ):
                connection.execute(text(statement))
    engine.dispose()
    database = Database(empty_url)
    await database.upgrade()
    ledger = Ledger(database, ["log"], "controller-1")
    claimed = await ledger.claim(ledger.claimer("log", 5.0), 10)
    assert [pending.fault.id for pending in claimed] == ["f1", "f3"]  # f2 is behind f1
    await database.close()


def test_the_operators_commands(tmp_path, empty_postgresql_url, capsys):
    path = tmp_path / "controller.conf"
    path.write_text(f"[database]\nconnection = {empty_postgresql_url}\n")
    own = f"{schema.own_version():04d}"
    file = ["--config-file", str(path)]
    for words, answer in (
        (["db", "current", *file], f"version 0000; this reachthru brings {own}"),
        ([*file, "db", "upgrade"], f"version 0000 before, {own} now"),
        (["db", "upgrade", *file], f"version {own} before, {own} now"),
        (["db", "current", *file], f"version {own}; this reachthru brings {own}"),
    ):
        assert cli.main(words) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line.endswith(answer)


def test_a_database_that_is_not_there_is_one_line_and_exit_1(tmp_path, capsys):
    path = tmp_path / "controller.conf"
    path.write_text("[database]\nconnection = postgresql+psycopg://me:secret@127.0.0.1:1/x\n")
    assert cli.main(["db", "upgrade", "--config-file", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "127.0.0.1:1" in line
    assert "secret" not in line
