"""reachthru-controller: takes faults from host agents, keeps them, tells whoever must know.

`db upgrade` brings the database's tables to this version's, `db current` says which they are.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from reachthru import __version__, service
from reachthru.controller_server import settings
from reachthru.controller_server.shell import Controller, StartError
from reachthru.controller_server.store.database import Database, DatabaseError
from reachthru.service import SettingsError
from reachthru.telemetry.logs import log_as, log_to_stderr
from reachthru.usage import ArgumentParser

# Libraries that report each request or each step at INFO.
_CHATTY = (
    *("alembic", "aiohttp", "uvicorn", "mqtt", "asyncio", "transitions"),
    *("amqp", "kombu", "stevedore", "urllib3"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 stopped by a signal or done, 1 failed, 2 wrong usage or settings."""
    args = _parser().parse_args(arguments)
    path = getattr(args, "config_file", settings.DEFAULT_PATH)
    try:
        if getattr(args, "db", None):
            return asyncio.run(_db(path, args.db))
        return asyncio.run(_run(path))
    except SettingsError as error:
        return _complain(error, 2)
    except (StartError, DatabaseError) as error:
        return _complain(error, 1)


async def _run(path: Path) -> int:
    log_to_stderr(_CHATTY)
    loaded = settings.load(path)
    log_as(use_json=loaded.use_json, debug=loaded.debug)
    try:
        await Controller(loaded).run()
    except StartError:
        raise
    except Exception:
        logging.getLogger(__name__).exception("the controller died of an error of its own")
        return 1
    return 0


async def _db(path: Path, word: str) -> int:
    database = Database(settings.load(path).database_url)
    try:
        if word == "upgrade":
            before, after = await database.upgrade()
            print(f"{database}: version {before:04d} before, {after:04d} now")
        else:
            there, own = await database.version()
            print(f"{database}: version {there:04d}; this reachthru brings {own:04d}")
    finally:
        await database.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="reachthru-controller", description=__doc__)
    _add_config_file(parser)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="instead of running", metavar="db")
    words = commands.add_parser("db", help="the database's tables").add_subparsers(
        dest="db", required=True, metavar="upgrade|current"
    )
    for word, help_text in (
        ("upgrade", "bring the tables to this version's; safe while older controllers run"),
        ("current", "say which version the tables are"),
    ):
        _add_config_file(words.add_parser(word, help=help_text))
    return parser


def _add_config_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config-file",
        type=Path,
        default=argparse.SUPPRESS,  # it may stand before the command or behind it
        metavar="F",
        help=f"settings, an INI file (default: {settings.DEFAULT_PATH})",
    )


def _complain(error: Exception, code: int) -> int:
    service.complain("reachthru-controller", error)
    return code


if __name__ == "__main__":
    sys.exit(main())
