"""diagrams/*.dot and *.svg: state machines from the cores' tables, arrows from .importlinter.

An SVG holds the hash of the text that Graphviz drew it from, and is drawn again only when that has
changed: two releases of Graphviz never draw the same, and `--check` needs none.
"""

import configparser
import hashlib
import itertools
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from enum import Enum
from pathlib import Path
from typing import Any

from docs_reference.markdown import code, table
from reachthru.protocol.heartbeat import guest, host

ROOT = Path(__file__).parents[2]
_STYLE = """  bgcolor="white"
  node [shape=box, style="rounded,filled", fillcolor="#eef3f8"]
  node [color="#44617b", fontname="sans-serif", fontsize=12]
  edge [color="#44617b", fontname="sans-serif", fontsize=10]
"""
_MACHINES: dict[str, Any] = {"heartbeat-host": host, "heartbeat-guest": guest}


def pages(docs: Path) -> dict[str, str]:
    drawings = {f"{name}": _machine(name) for name in _MACHINES}
    drawings["layers"] = _layers()
    drawings["fault-way"] = (docs / "diagrams/fault-way.dot").read_text()  # written by hand
    found = {}
    for name, dot in drawings.items():
        found[f"diagrams/{name}.dot"] = dot
        found[f"diagrams/{name}.svg"] = _svg(docs / f"diagrams/{name}.svg", dot)
    return found


def transition_table(name: str) -> str:
    """Every pair of state and input that has a meaning, as a table."""
    rows = [
        (code(state.name), code(what.name), code(after.name), _action(action))
        for (state, what), (after, action) in _MACHINES[name]._TRANSITIONS.items()
    ]
    return table(("state", "input", "next state", "action"), rows)


def _action(action: Any) -> str:
    return "" if action is None else action.__name__.strip("_").replace("_", " ")


def _machine(name: str) -> str:
    """One arrow for each pair of states, with all inputs that lead along it."""
    arrows: dict[tuple[Enum, Enum], list[str]] = defaultdict(list)
    for (state, what), (after, action) in _MACHINES[name]._TRANSITIONS.items():
        if state is not after or action is not None:
            arrows[state, after].append(what.name.lower())
    lines = []
    for (before, after), inputs in arrows.items():
        label = "\\n".join(inputs)
        lines.append(f'  {before.name} -> {after.name} [label="{label}"]\n')
    return f'digraph "{name}" {{\n{_STYLE}{"".join(lines)}}}\n'


def _layers() -> str:
    """The rows of import-linter's first contract; each may import those below it."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    rows = contracts["importlinter:contract:layers"]["layers"].strip().splitlines()
    names = [[one.strip() for one in row.split("|")] for row in rows]
    lines = []
    for row in names:
        nodes = " ".join(f'"{name}"' for name in row)
        lines.append(f"  {{ rank=same {nodes} }}\n")
    for above, below in itertools.pairwise(names):
        lines += [f'  "{one}" -> "{other}"\n' for one in above for other in below]
    return f'digraph "layers" {{\n{_STYLE}{"".join(lines)}}}\n'


def _svg(path: Path, dot: str) -> str:
    """What is there, if it was drawn from `dot`; else drawn anew."""
    mark = f"<!-- drawn from {hashlib.sha256(dot.encode()).hexdigest()} -->\n"
    if path.exists() and path.read_text().endswith(mark):
        return path.read_text()
    if shutil.which("dot") is None:
        sys.exit(
            f"{path.name} is not current, and only Graphviz can draw it: apt-get install graphviz"
        )
    drawn = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True, check=True)
    return re.sub(r"<!--.*?-->\n?", "", drawn.stdout, flags=re.S) + mark
