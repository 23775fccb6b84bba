"""`reachthru completion SHELL`: what makes a shell complete our commands, options and names.

argcomplete asks this very program at each Tab, so what it completes is what there is.
"""

import argparse
import os
import sys
from collections.abc import Callable

HELP = "print what makes a shell complete reachthru's commands"
SHELLS = ("bash", "zsh", "fish")
_USE = """In ~/.bashrc: eval "$(reachthru completion bash)"; in ~/.zshrc, after compinit: the same
with zsh; for fish: reachthru completion fish > ~/.config/fish/completions/reachthru.fish"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("completion", help=HELP, description=f"{HELP}. {_USE}")
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        from argcomplete import shell_integration  # noqa: PLC0415  (only who asks needs it)
    except ImportError:
        sys.stderr.write("reachthru: completion needs argcomplete: pip install argcomplete\n")
        return 1
    sys.stdout.write(shell_integration.shellcode(["reachthru"], shell=args.shell))
    return 0


def is_asked() -> bool:
    """A shell asks, on somebody's Tab."""
    return "_ARGCOMPLETE" in os.environ


def answer(make_parser: Callable[[list[str]], argparse.ArgumentParser]) -> None:
    """Says what may follow what is typed; does not return. `make_parser` gets the words of it."""
    import argcomplete  # noqa: PLC0415

    typed = os.environ.get("COMP_LINE", "").split()[1:]
    argcomplete.autocomplete(make_parser(typed))
