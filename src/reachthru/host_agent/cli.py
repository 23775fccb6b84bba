"""reachthru-host: heartbeats the guests of this compute node and reports their faults."""

import argparse
import asyncio
import contextlib
import logging
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from reachthru import __version__, service
from reachthru.bus import BusUrlError, DoorError
from reachthru.host_agent import settings
from reachthru.host_agent.agent import HostAgent
from reachthru.host_agent.settings import HostSettings
from reachthru.host_agent.start_error import StartError
from reachthru.service import SettingsError
from reachthru.telemetry.logs import log_as, log_to_stderr

_CHATTY = ("asyncio", "mqtt", "amqp", "kombu", "stevedore")
DEFAULT_PATH = Path("/etc/reachthru/host.conf")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 stopped by a signal, 1 failed, 2 wrong usage or settings."""
    path = _parser().parse_args(arguments).config_file
    log_to_stderr(_CHATTY)
    _raise_file_limit()
    try:
        loaded = settings.load(path)
        log_as(use_json=loaded.use_json, debug=loaded.debug)
        asyncio.run(_run(loaded))
    except SettingsError as error:
        return _complain(str(error), 2)
    except BusUrlError as error:
        return _complain(f"{path}: [bus] url: {error}", 2)
    except DoorError as error:
        return _complain(f"{path}: [bus] {error}", 2)
    except StartError as error:
        return _complain(str(error), 1)
    except Exception:
        logging.getLogger(__name__).exception("the host agent died of an error of its own")
        return 1
    return 0


async def _run(loaded: HostSettings) -> None:
    await HostAgent(loaded).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="reachthru-host", description=__doc__)
    parser.add_argument(
        "--config-file",
        type=Path,
        default=DEFAULT_PATH,
        metavar="F",
        help="settings, an INI file (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _raise_file_limit() -> None:
    """A socket a guest: the customary soft limit of 1,024 would be a silent cap.

    Where a sandbox forbids it, the limit stays; a port that finds no file left says so.
    """
    with contextlib.suppress(OSError, ValueError):
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _complain(text: str, code: int) -> int:
    service.complain("reachthru-host", text)
    return code


if __name__ == "__main__":
    sys.exit(main())
