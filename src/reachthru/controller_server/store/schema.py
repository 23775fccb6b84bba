"""Which version of the tables a database has, and how it gets the next ones.

Revisions are numbers, each one more than the last. Every migration only adds: a controller works
with a schema that is one version newer than its own, so that a cluster can be upgraded one
controller at a time, the database first.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

_MIGRATIONS = Path(__file__).parent / "migrations"
# Of our own, so that two that upgrade at once do it one after the other.
_UPGRADE_LOCK = 0x72656163687468  # "reachth"


class SchemaError(Exception):
    """This version does not work with that schema; one line that says what to do."""


def version(connection: Connection) -> int:
    """0: there are no tables yet."""
    return int(MigrationContext.configure(connection).get_current_revision() or 0)


def own_version() -> int:
    """The newest that this version of the controller brings."""
    return int(ScriptDirectory.from_config(_config()).get_current_head() or 0)


def check(connection: Connection) -> None:
    """Raises `SchemaError` where this version does not work with the schema."""
    there, own = version(connection), own_version()
    if there > own + 1:
        raise SchemaError(
            f"its schema is version {there:04d}, and this reachthru knows {own:04d} and works with"
            f" one version more: upgrade this controller"
        )
    if there < own:
        what = f"its schema is version {there:04d}" if there else "it has no tables yet"
        raise SchemaError(
            f"{what}, and this reachthru needs {own:04d}: run reachthru-controller db upgrade"
        )


def upgrade(connection: Connection) -> int:
    """To `own_version`, in the connection's transaction; a newer schema stays as it is.

    Returns the version before.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # a large table takes long
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    before = version(connection)
    if before < own_version():
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
