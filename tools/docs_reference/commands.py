"""reference/commands.md: the four programs, as their own --help has them."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from docs_reference.markdown import GENERATED, code, table
from reachthru import cli
from reachthru.controller_server import cli as controller
from reachthru.guest_daemon import usage as guest
from reachthru.host_agent import cli as host

_INTRO = """
# Commands

Four programs. Each knows `--help` and `--version`. Exit codes: 0 fine, 1 failed (or unhealthy),
2 wrong usage or settings.
"""


def pages(_docs: Path) -> dict[str, str]:
    parsers = [*_operators(), guest.parser(), host._parser(), controller._parser()]
    return {"reference/commands.md": GENERATED + _INTRO + "".join(map(_program, parsers))}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command's parser, by its words: `reachthru hosts forget`."""
    found: dict[str, argparse.ArgumentParser] = {}
    for name, top in zip(cli._COMMANDS, _operators(), strict=True):
        mine = f"reachthru {name}"
        found |= {one.prog: one for one in _tree(top) if f"{one.prog} ".startswith(f"{mine} ")}
    for top in (guest.parser(), host._parser(), controller._parser()):
        found |= {one.prog: one for one in _tree(top)}
    return found


def _operators() -> list[argparse.ArgumentParser]:
    """`reachthru`'s parser, once for each command, since it loads only what was asked for."""
    return [cli._parser([name]) for name in cli._COMMANDS]


def _program(top: argparse.ArgumentParser) -> str:
    """Below `reachthru`, only the command for which this parser was made has options."""
    parts = []
    for parser in _tree(top):
        rows = [row for action in parser._actions if (row := _row(action))]
        if parser.prog == "reachthru" or (not rows and " " in parser.prog):
            continue
        parts.append(f"\n## {parser.prog}\n\n")
        if parser.description:
            parts.append(f"{_sentence(parser.description)}\n\n")
        usage = parser.format_usage().removeprefix("usage: ")
        parts.append(f"```text\n{' '.join(usage.split())}\n```\n")
        if rows:
            parts.append(f"\n{table(('argument', 'meaning'), rows)}")
    return "".join(parts)


def _tree(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in dict.fromkeys(action.choices.values()):
                yield from _tree(child)


def _row(action: argparse.Action) -> tuple[str, str] | None:
    if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
        return None
    if isinstance(action, argparse._VersionAction):
        return None
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    names = ", ".join(action.option_strings)
    return code(f"{names} {value}".strip() if names else value), _help(action)


def _help(action: argparse.Action) -> str:
    """Defaults are filled in, except those that are of this machine's environment."""
    text = action.help or ""
    return text % {**vars(action), "prog": ""} if "%(" in text else text.replace("%%", "%")


def _sentence(text: str) -> str:
    return " ".join(text.split())
