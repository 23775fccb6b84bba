"""Writes every generated page, or says which are not current."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from docs_reference import commands, diagrams, faults, messages, rest, settings

DOCS = Path(__file__).parents[2] / "docs"
# Each gives {path below docs/: text}.
MAKERS: tuple[Callable[[Path], dict[str, str]], ...] = (
    settings.pages,
    commands.pages,
    rest.pages,
    faults.pages,
    messages.pages,
    diagrams.pages,
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/docs-reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not current")
    check = parser.parse_args().check
    stale = []
    for maker in MAKERS:
        for name, text in maker(DOCS).items():
            path = DOCS / name
            if path.exists() and path.read_text() == text:
                continue
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    words = "not current; run tools/docs-reference" if check else "written"
    for name in stale:
        sys.stdout.write(f"docs/{name}: {words}\n")
    return 1 if check and stale else 0


sys.exit(main())
