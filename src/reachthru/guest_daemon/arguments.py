"""The command line. The plain `run` of every VM is read without argparse."""

from collections.abc import Sequence

from msgspec import Struct


class Arguments(Struct, frozen=True):
    """`config` is None for the default file. What a command does not take has its default."""

    command: str
    config: str | None
    as_json: bool = False
    text: str = ""
    count: int | None = None
    timeout_s: float | None = None


def read_arguments(argv: Sequence[str]) -> Arguments:
    """`argv` without the program's name. Exits by itself with 2 on wrong usage, and after --help.

    argparse is three percent of this daemon's memory, so what the service manager starts does
    without.
    """
    match argv:
        case ["run"]:
            return Arguments("run", None)
        case ["run", "--config", path] if not path.startswith("-"):
            return Arguments("run", path)
    from reachthru.guest_daemon.usage import parser

    found = parser().parse_args(argv)
    return Arguments(**vars(found))
