"""reference/openapi.json and reference/rest.md: REST, as the application's routes have it."""

import json
from pathlib import Path
from typing import Any, cast

from litestar import Litestar
from litestar.openapi import OpenAPIConfig

from docs_reference.markdown import GENERATED, code, table
from reachthru.controller_server.rest.app import rest_app
from reachthru.controller_server.state import ControllerState

_ERROR = {
    "description": "What is wrong, in one line for people.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"error": {"type": "string"}},
                "required": ["error"],
            }
        }
    },
}
_INTRO = """
# REST

The controller answers on `[api] listen`, by default `http://127.0.0.1:8780`. Answers are JSON,
times are UTC in ISO 8601. An error is `{"error": "one line"}` with a status of 4xx or 5xx. Who may
ask what is in [Doors and locks](../security.md). For machines: [openapi.json](openapi.json).

`GET /v1/events` is a stream of server-sent events: `event:` is `fault`, `instance` or `host`,
`data:` is the object that the lists have. A fault comes when it is raised and when it is cleared,
and once more when a maintenance window that held it back is over. At least every 15 s there is a
comment, so that a dead connection is seen.
"""


def pages(_docs: Path) -> dict[str, str]:
    schema = _schema()
    return {
        "reference/openapi.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
        "reference/rest.md": _page(schema),
    }


def _schema() -> dict[str, Any]:
    routes = rest_app(cast("ControllerState", None))
    handlers = {
        id(handler): handler
        for route in routes.routes
        for handler, _resolved in getattr(route, "route_handler_map", {}).values()
        if "OPTIONS" not in handler.http_methods
    }
    documented = Litestar(
        route_handlers=list(handlers.values()),
        dependencies=routes.dependencies,
        openapi_config=OpenAPIConfig(title="reachthru", version="1", use_handler_docstrings=True),
    )
    schema: dict[str, Any] = json.loads(json.dumps(documented.openapi_schema.to_schema()))
    stream = schema["paths"]["/v1/events"]["get"]["responses"]["200"]
    stream["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("400", None)  # Litestar's own words, which ours replace
            operation["responses"]["default"] = _ERROR
    return schema


def _page(schema: dict[str, Any]) -> str:
    parts = [GENERATED, _INTRO]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts.append(f"\n## {method.upper()} {path}\n\n")
            if text := operation.get("description"):
                parts.append(f"{' '.join(text.split())}\n\n")
            rows = [
                (code(one["name"]), one["in"], _type(one["schema"]))
                for one in operation.get("parameters", [])
            ]
            if rows:
                parts.append(f"{table(('parameter', 'in', 'type'), rows)}\n")
            parts.append(f"Answers with {_answer(operation)}.\n")
    parts.append("\n## Objects\n")
    for name, found in schema["components"]["schemas"].items():
        required = found.get("required", [])
        rows = [
            (code(key), _type(value), "" if key in required else "may be missing")
            for key, value in found.get("properties", {}).items()
        ]
        text = table(("key", "type", ""), rows) if rows else f"One of {_type(found)}.\n"
        parts.append(f"\n### {name}\n\n{text}")
    return "".join(parts)


def _answer(operation: dict[str, Any]) -> str:
    status, answer = next(iter(operation["responses"].items()))
    types = [
        f"{kind}: {_type(content.get('schema', {}))}"
        for kind, content in answer.get("content", {}).items()
    ]
    return f"{status}, {'; '.join(types) or 'nothing'}"


def _type(schema: dict[str, Any]) -> str:
    """In words, as short as a table's cell."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "enum" in schema:
        return ", ".join(code(word) for word in schema["enum"])
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    bounds = [
        f"{word} {schema[key]:g}"
        for word, key in (("from", "minimum"), ("to", "maximum"))
        if key in schema
    ]
    return " ".join([str(kind), *bounds])
