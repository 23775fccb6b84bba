"""reference/faults.md: the fault catalogue."""

from pathlib import Path

from docs_reference.markdown import GENERATED, code, table
from reachthru.protocol.faults import CATALOGUE, EXCUSED

_INTRO = """
# Faults

What can be wrong, how bad it is, and what ends it. A fault belongs to one instance, or
(`host_lost`) to one compute node. Severities are those of ITU-T X.733.

"""
_EXCUSES = """
## What excuses a silent guest

While the hypervisor says one of these, the guest's silence is nobody's fault, and no fault of the
kinds above (but `host_lost`) is raised:

"""


def pages(_docs: Path) -> dict[str, str]:
    rows = [
        (code(entry.kind), entry.severity, entry.title, entry.cleared_by)
        for entry in CATALOGUE.values()
    ]
    excused = "".join(f"- {code(condition)}\n" for condition in sorted(EXCUSED))
    text = table(("kind", "severity", "what is wrong", "what ends it"), rows)
    return {"reference/faults.md": GENERATED + _INTRO + text + _EXCUSES + excused}
