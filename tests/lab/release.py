"""The last release's own code, from tests/golden: a neighbour of another version."""

import tarfile
from pathlib import Path

LAST = "0.1.0"
GOLDEN = Path(__file__).parents[1] / "golden" / "agent_bus" / LAST


def unpack(folder: Path) -> Path:
    """What PYTHONPATH names to run its daemons: `reachthru` without demo and guest."""
    with tarfile.open(GOLDEN / "reachthru.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder
