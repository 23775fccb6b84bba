"""The published contract: one JSON Schema (2020-12) a message, as package data.

Names are `envelope`, `heartbeat.<msg_type>`, `server_group.<msg_type>`, `agent_bus.<type>` and
`controller_bus.<type>`. One may refer to another by its `$id`.
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


def by_id() -> dict[str, dict[str, Any]]:
    """Every schema by its `$id`, for whoever must resolve references between them."""
    return {schema["$id"]: schema for schema in map(load, names())}
