"""The published contract: one JSON Schema (2020-12) a message, as package data.

Names are `envelope`, `heartbeat.<msg_type>`, `server_group.<msg_type>` and `agent_bus.<type>`.
"""

import json
from importlib import resources
from typing import Any


def names() -> list[str]:
    """Every schema's name, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))


def load(name: str) -> dict[str, Any]:
    """The schema called `name`. Raises `KeyError`."""
    if name not in names():  # a name may be a peer's word: it never becomes a path
        raise KeyError(name)
    file = resources.files(__name__).joinpath(f"{name}.json")
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema
