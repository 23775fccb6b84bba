"""The command line for people: --help, --version, and wrong usage in one line."""

import argparse
from typing import NoReturn

from reachthru import __version__
from reachthru.guest_daemon.completion import SHELLS
from reachthru.guest_daemon.settings import DEFAULT_PATH

_COMMANDS = (
    ("run", "run the daemon, in the foreground"),
    ("status", "show the port, the host's attention and the health"),
    ("check", "run every health check now; exit 0 if healthy, 1 if not"),
    ("doctor", "say what keeps this VM from being heartbeated, and how to mend it"),
    ("members", "show every VM of this VM's server group, this one too"),
    ("broadcast", "send a text to every other VM of this VM's server group"),
    ("completion", "print what makes a shell complete these commands"),
    ("listen", "print what the server group's other VMs broadcast, and how they change"),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="reachthru-guest",
        description="Heartbeats this VM to its host, with the VM's health.",
    )
    top.add_argument("--version", action="version", version=f"reachthru-guest {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in _COMMANDS:
        command = commands.add_parser(name, help=text, description=text)
        if name == "completion":
            command.add_argument("text", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")
            command.set_defaults(config=None)
            continue
        command.add_argument("--config", metavar="FILE", help=f"settings (default: {DEFAULT_PATH})")
        if name != "run":
            what = "a JSON object a line" if name == "listen" else "one JSON object"
            command.add_argument(
                "--json", dest="as_json", action="store_true", help=f"print {what}"
            )
        if name == "broadcast":
            command.add_argument(
                "text",
                metavar="TEXT",
                help="at most 3050 bytes of UTF-8 on one line; - reads standard input",
            )
        if name == "listen":
            command.add_argument(
                "--count", type=_count, metavar="N", help="end after so many messages"
            )
            command.add_argument(
                "--timeout",
                dest="timeout_s",
                type=_seconds,
                metavar="S",
                help="end after so many seconds; with --count, exit 1 if there were fewer",
            )
    return top


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: a number of seconds")
    return seconds
