"""reachthru-controller: takes faults from host agents, keeps them, tells whoever must know."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from reachthru import __version__, service
from reachthru.controller_server import settings
from reachthru.controller_server.shell import Controller, StartError
from reachthru.service import SettingsError
from reachthru.usage import ArgumentParser

# Libraries that report each request or each step at INFO.
_CHATTY = ("alembic", "httpx", "httpcore", "uvicorn", "mqtt", "asyncio", "transitions")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 stopped by a signal, 1 failed, 2 wrong usage or settings."""
    args = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(args.config_file))
    except SettingsError as error:
        return _complain(error, 2)
    except StartError as error:
        return _complain(error, 1)


async def _run(path: Path) -> int:
    service.log_to_stderr(_CHATTY)
    loaded = settings.load(path)
    if loaded.debug:
        logging.getLogger().setLevel(logging.DEBUG)
    try:
        await Controller(loaded).run()
    except StartError:
        raise
    except Exception:
        logging.getLogger(__name__).exception("the controller died of an error of its own")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="reachthru-controller", description=__doc__)
    parser.add_argument(
        "--config-file",
        type=Path,
        default=settings.DEFAULT_PATH,
        metavar="F",
        help="settings, an INI file (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _complain(error: Exception, code: int) -> int:
    service.complain("reachthru-controller", error)
    return code


if __name__ == "__main__":
    sys.exit(main())
