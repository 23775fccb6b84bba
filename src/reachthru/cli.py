"""reachthru: the operator's command line."""

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder

from reachthru import __version__
from reachthru.operator import completion
from reachthru.operator.api import ApiError
from reachthru.usage import ArgumentParser

# Each module has `add_parser(subparsers)`, whose parser sets `run(args) -> exit code`. Only the
# module of the command that was asked for is imported.
_COMMANDS = {
    "instances": ("reachthru.operator.instances", "the instances and how they are"),
    "hosts": ("reachthru.operator.hosts", "the compute nodes and how their agents are"),
    "groups": ("reachthru.operator.groups", "the server groups and their members"),
    "faults": ("reachthru.operator.faults", "what is or was wrong, and who has been told"),
    "maintenance": (
        "reachthru.operator.maintenance",
        "windows in which faults are shown, and told to no sink",
    ),
    "doctor": ("reachthru.doctor.command", "say what is wrong with this machine's installation"),
    "validate": ("reachthru.validate", "check a captured line-JSON transcript"),
    "completion": (
        "reachthru.operator.completion",
        "print what makes a shell complete reachthru's commands",
    ),
    "demo": ("reachthru.demo.command", "see it work on a real VM"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 fine, 1 failed, 2 wrong usage."""
    if completion.is_asked():
        completion.answer(_parser)
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = _parser(words).parse_args(words)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except ApiError as error:
        print(f"reachthru: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read has seen enough. Nothing may be flushed into the pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="reachthru", description=__doc__)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, (module, summary) in _COMMANDS.items():
        if not _is_there(module):
            continue  # no package has the demo, and the host's has little but the doctor
        if name == asked:
            importlib.import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    if asked == "validate" and asked in subparsers.choices:
        subparsers.choices[asked].add_argument("--json", action="store_true", help="print JSON")
    return parser


def _is_there(module: str) -> bool:
    """Imports nothing, not even the package that the module is in."""
    package = importlib.util.find_spec(module.rpartition(".")[0])
    if package is None:
        return False
    return PathFinder.find_spec(module, package.submodule_search_locations) is not None


if __name__ == "__main__":
    sys.exit(main())
