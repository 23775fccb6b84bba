"""Two compute nodes and a controller, for tests of what goes between their guests."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab.cloud import Cloud


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:  # tmp_path is too long for a socket
        cloud = Cloud(Path(folder))
        try:
            yield cloud
        finally:
            await cloud.close()
            print(cloud.logs())
