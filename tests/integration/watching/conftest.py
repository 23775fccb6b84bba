"""One lab for all tests of this folder."""

import tempfile
from pathlib import Path

import pytest

from lab.watched import SICK, Watched


@pytest.fixture(scope="session")
def watched():
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:  # short enough for a socket
        watched = Watched(Path(folder))
        try:
            watched.start()
            yield watched
        finally:
            watched.close()
            for name in ("host", "controller", "prometheus"):
                print(name, watched.log(name)[-3000:])


@pytest.fixture(scope="session")
def sick(watched):
    """A guest that says that it is unhealthy, and one that hung and came back: (fault, fault)."""
    unhealthy = watched.fault("unhealthy", 0, "raised", corrective_action="log", log_msg=SICK)
    hung = watched.fault("hang", 1, "raised")
    watched.fault("wake", 1, "cleared")
    return unhealthy, hung
