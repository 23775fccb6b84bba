"""`reachthru-guest`: run the daemon, or ask the one that runs in this VM.

Exit status: 0 fine (and healthy), 1 failed (or unhealthy), 2 wrong usage or settings.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reachthru.guest_daemon.errors import CommandError, NoDaemonError
from reachthru.guest_daemon.small_msgspec import import_msgspec_small

if TYPE_CHECKING:
    from reachthru.guest_daemon.arguments import Arguments
    from reachthru.guest_daemon.settings import Settings

STATUS_TIMEOUT_S = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    import_msgspec_small()  # before anything else imports it
    from reachthru.guest_daemon.arguments import read_arguments
    from reachthru.guest_daemon.settings import load

    arguments = read_arguments(sys.argv[1:] if argv is None else argv)
    if arguments.command == "doctor":  # wrong settings are one of its findings
        return _doctor(arguments)
    if arguments.command == "completion":
        return _completion(arguments)
    commands = {
        "run": _run,
        "status": _status,
        "check": _check,
        "members": _group,
        "broadcast": _group,
        "listen": _group,
    }
    try:
        return commands[arguments.command](load(arguments.config), arguments)
    except CommandError as error:
        print(f"reachthru-guest: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:  # whoever read has enough; and nothing is to be flushed at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(settings: "Settings", _arguments: "Arguments") -> int:
    from reachthru.guest_daemon.log import Log
    from reachthru.guest_daemon.shell import Shell

    return Shell(settings, Log()).run()


def _status(settings: "Settings", arguments: "Arguments") -> int:
    from reachthru.guest_daemon.client import Client
    from reachthru.guest_daemon.status import show_status

    with Client(settings.applications_socket, STATUS_TIMEOUT_S) as client:
        status = client.status()
    _print(status, arguments, show_status(status))
    return 0


def _check(settings: "Settings", arguments: "Arguments") -> int:
    from reachthru.guest_daemon.check_alone import check_alone
    from reachthru.guest_daemon.client import Client
    from reachthru.guest_daemon.status import show_check

    longest_s = max((check.timeout_s for check in settings.checks), default=0.0)
    try:
        # The daemon may have read other settings than we did, so its limit is only guessed.
        timeout_s = 2 * longest_s + STATUS_TIMEOUT_S
        with Client(settings.applications_socket, timeout_s) as client:
            status = client.check()
    except NoDaemonError:
        status = check_alone(settings)
    _print(status, arguments, show_check(status))
    return 0 if status["healthy"] else 1


def _completion(arguments: "Arguments") -> int:
    from reachthru.guest_daemon.completion import script
    from reachthru.guest_daemon.usage import parser

    print(script(arguments.text, parser()))
    return 0


def _doctor(arguments: "Arguments") -> int:
    from reachthru import findings
    from reachthru.guest_daemon.doctor import examine

    found = examine(arguments.config)
    print(findings.as_json(found) if arguments.as_json else "\n".join(findings.lines(found)))
    return findings.exit_status(found)


def _group(settings: "Settings", arguments: "Arguments") -> int:
    from reachthru.guest_daemon.group.commands import run_command

    return run_command(settings.applications_socket, arguments)


def _print(status: dict[str, Any], arguments: "Arguments", text: str) -> None:
    import msgspec

    print(msgspec.json.encode(status).decode() if arguments.as_json else text)
