"""The tables of fields in spec/messages.md, and reference/bus.md: from the JSON Schemas.

spec/messages.md is written by hand; what stands between `<!-- table: NAME -->` and
`<!-- end -->` there is filled in.
"""

import re
from pathlib import Path
from typing import Any

from docs_reference.diagrams import transition_table
from docs_reference.markdown import GENERATED, code, table
from reachthru import schemas

_SLOT = re.compile(r"(<!-- table: (\S+) -->\n)(?:.*?)(<!-- end -->)", re.S)
_BUS = """
# Messages between agents and controllers

JSON objects, one a message, over the carrier that `[bus] url` names. Each has `type` and `v`; how
releases understand each other is in [agent-bus](../spec/agent-bus.md). The schemas themselves are
package data of reachthru (`reachthru.schemas`), JSON Schema 2020-12.
"""


def pages(docs: Path) -> dict[str, str]:
    written = (docs / "spec/messages.md").read_text()
    filled = _SLOT.sub(lambda slot: f"{slot[1]}\n{_slot(slot[2])}\n{slot[3]}", written)
    return {"spec/messages.md": filled, "reference/bus.md": _bus()}


def _slot(name: str) -> str:
    if name.startswith("transitions."):
        return transition_table(name.removeprefix("transitions."))
    link = f"[JSON Schema](../../src/reachthru/schemas/{name}.json)"
    return f"{link}\n\n{_fields(schemas.load(name))}"


def _bus() -> str:
    parts = [GENERATED, _BUS]
    for name in schemas.names():
        if name.startswith(("agent_bus.", "controller_bus.")):
            schema = schemas.load(name)
            parts.append(f"\n## {name}\n\n{schema.get('description', '')}\n\n{_fields(schema)}")
    return "".join(parts)


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        (
            code(key),
            _type(value),
            "yes" if key in required else "",
            value.get("description", ""),
        )
        for key, value in schema.get("properties", {}).items()
    ]
    return table(("key", "type", "required", "meaning"), rows)


def _type(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(code(word) for word in schema["enum"])
    if "$ref" in schema:
        return code(schema["$ref"].removeprefix("urn:reachthru:schema:"))
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "maxLength" in schema:
        kind += f", at most {schema['maxLength']} characters"
    if schema.get("minimum") == 0 and "maximum" in schema:
        kind += f", 0 to {_number(schema['maximum'])}"
    return str(kind)


def _number(value: int) -> str:
    return {2**32 - 1: "2^32 - 1", 2**31 - 2: "2^31 - 2"}.get(value, str(value))
