"""docs/json.md, made from the types of the control API: ``python -m tests.unit.api.json_page`` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import msgspec

from picloud_web.api import all_endpoints
from picloud_web.api.endpoints import Endpoint

PAGE = Path(__file__).resolve().parents[3] / "docs" / "json.md"
_REFERENCE = "#/$defs/{name}"

#: What each command that reads prints: the endpoint whose answer it is; a page of items is printed as their array.
COMMANDS = {
    "apps ls": "/apps",
    "apps show": "/apps/{app}",
    "apps network": "/apps/{app}/http-allowed",
    "releases ls": "/apps/{app}/releases",
    "releases show": "/apps/{app}/releases/{id}",
    "scripts ls": "/apps/{app}/scripts",
    "scripts show": "/apps/{app}/scripts/{name}",
    "scripts versions": "/apps/{app}/scripts/{name}/versions",
    "routes ls": "/apps/{app}/routes",
    "routes show": "/apps/{app}/routes/{id}",
    "triggers ls": "/apps/{app}/triggers",
    "triggers show": "/apps/{app}/triggers/{trigger}",
    "schedules ls": "/apps/{app}/schedules",
    "queues": "/queues",
    "queues ls": "/apps/{app}/queues",
    "queues show": "/apps/{app}/queues/{queue}",
    "domains ls": "/apps/{app}/domains",
    "secrets ls": "/apps/{app}/secrets",
    "secrets show": "/apps/{app}/secrets/{name}",
    "kv ls APP": "/apps/{app}/kv",
    "kv ls APP COLLECTION": "/apps/{app}/kv/{collection}",
    "executions ls": "/executions",
    "executions show": "/executions/{id}",
    "executions tree": "/executions/{id}/tree",
    "logs": "/logs",
    "outbox ls": "/outbox",
    "outbox show": "/outbox/{id}",
    "dead-letters ls": "/dead-letters",
    "dead-letters groups": "/dead-letters/groups",
    "dead-letters show": "/dead-letters/{id}",
    "whoami": "/me",
    "users ls": "/users",
    "users show": "/users/{name}",
    "members ls": "/apps/{app}/members",
    "keys ls": "/keys",
    "keys show": "/keys/{id}",
    "audit ls": "/audit",
    "audit show": "/audit/{id}",
    "workers ls": "/system/workers",
    "doctor --prove": "/system/books",
}

_HEAD = """\
# What `--json` prints

Made from the types of the control API by `python -m tests.unit.api.json_page`; a test compares them.

Every command that reads takes `--json` and prints one document on standard output: an array for lists, an object
otherwise. A member marked `?` may be left out, `null` is a value of its own, times are RFC 3339 in UTC, `json` is any
value. Members may be added: leave alone what you do not know. The API answers with the same objects, lists in pages
(`items`, `next`), and describes them for programs in `/api/v1/openapi.json`.

`kv get --json` prints the value itself. `logs --follow --json` prints one object a line. `top --json` prints one a line
at each look: `at`, `per_second` (`accepted`, `completed`, `failed`), `queues` (the `apps` of `picloud queues`),
`broker`, `workers`, `last_hour`, `unresolved_dead_letters`, and `failures`, which are those of `dead-letters groups`.
"""


def rendered() -> str:
    """The whole page."""
    served = {re.sub(r":\w+", "", each.path): each for each in all_endpoints() if each.method == "GET"}
    answers = {command: served[path] for command, path in COMMANDS.items()}
    _, definitions = msgspec.json.schema_components(
        _distinct([each.returns for each in answers.values()]), ref_template=_REFERENCE
    )
    shapes = {command: _answer(endpoint, definitions) for command, endpoint in answers.items()}
    rows = [f"| `picloud {command}` | {shape} |" for command, shape in shapes.items()]
    named = _reached(shapes.values(), definitions)
    parts = [_HEAD, "| command | document |", "|---|---|", *rows, ""]
    for name in sorted(named):
        parts += [f"## {name}", "", *_description(definitions[name]), *_members(definitions[name]), ""]
    return "\n".join(parts)


def _distinct(types: list[Any]) -> list[Any]:
    distinct: list[Any] = []
    for each in types:
        if each not in distinct:
            distinct.append(each)
    return distinct


def _answer(endpoint: Endpoint, definitions: dict[str, Any]) -> str:
    (schema,), _ = msgspec.json.schema_components([endpoint.returns], ref_template=_REFERENCE)
    name = schema.get("$ref", "").rpartition("/")[2]
    items = definitions[name]["properties"].get("items") if name else None
    return _shape(items if items is not None else schema)


def _shape(schema: dict[str, Any]) -> str:
    """A schema in a word or a few."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_shape(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"array of {_shape(cast('dict[str, Any]', schema['items']))}" if "items" in schema else "array"
        case "object":
            values = schema.get("additionalProperties")
            return f"object of {_shape(cast('dict[str, Any]', values))}" if isinstance(values, dict) else "object"
        case "string":
            return {"date-time": "time", "uuid": "id"}.get(schema.get("format", ""), "string")
        case str(simple):
            return simple
        case _:
            return "json"


def _named_shape(name: str, schema: dict[str, Any]) -> str:
    """A time is a string of any format in the schema: its name tells."""
    is_time = name in {"at", "next_times"} or name.endswith("_at")
    return _shape(schema).replace("string", "time") if is_time else _shape(schema)


def _members(schema: dict[str, Any]) -> list[str]:
    if "properties" not in schema:
        return [_shape(schema)]
    required = schema.get("required", [])
    rows = [
        f"| `{name}`{'' if name in required else '?'} | {_named_shape(name, member)} |"
        for name, member in schema["properties"].items()
    ]
    return ["| member | value |", "|---|---|", *rows]


def _description(schema: dict[str, Any]) -> list[str]:
    """What the type says of itself, without the paragraphs that are for who reads the code."""
    told = str(schema.get("description", "")).partition("\n\n")[0].replace("``", "`").replace("\n", " ")
    return [told, ""] if told else []


def _reached(shapes: Any, definitions: dict[str, Any]) -> set[str]:
    """The types that the shapes name, and those that these name."""
    found: set[str] = set()
    left = [name for shape in shapes for name in re.findall(r"\[(\w+)\]", shape)]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [each for line in _members(definitions[name]) for each in re.findall(r"\[(\w+)\]", line)]
    return found


if __name__ == "__main__":
    PAGE.write_text(rendered())
