"""Types of the code as JSON Schema, and an example of each: what OpenAPI documents are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

_REFERENCE = "#/components/schemas/{name}"

#: What a member or parameter of this name is, for instance; of others the type tells.
_EXAMPLES: Mapping[str, Any] = {
    "app": "shop",
    "name": "orders",
    "script": "orders",
    "source": "#{ total: 3 }",
    "domain": "shop.example.org",
    "queue": "invoices",
    "trigger": "nightly",
    "collection": "carts",
    "key": "42",
    "kind": "cron",
    "schedule": "*/5 * * * *",
    "timezone": "Europe/Berlin",
    "method": "POST",
    "path": "/orders/:id",
    "user": "ada",
    "member": "ada",
    "version": 1,
    "value": "s3cret",
    "email": "ada@example.org",
    "password": "correct horse battery staple",
    "args": {"id": 42},
    "reason": "a test order",
    "manifest": {"app": {"name": "shop"}},
    "old": "correct horse battery staple",
    "new": "four unrelated words again",
    "role": "member",
    "files": {"scripts/orders.rhai": "#{ total: 3 }"},
    "allowed": ["192.168.1.50", "*.lan"],
    "event": {"topic": "orders", "message": {"id": 42}},
}
#: Bodies whose required members alone are not enough.
_WHOLE: Mapping[str, Any] = {
    "NewTrigger": {"kind": "cron", "name": "nightly", "script": "orders", "schedule": "0 3 * * *"},
    "WantedTrigger": {"kind": "cron", "script": "orders", "schedule": "0 3 * * *"},
    "ChangedUser": {"disabled": True},
}
_UUID = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"
_MOST_DEPTH = 6


def schemas(types: list[Any]) -> dict[str, Any]:
    """Every named schema that these types are made of."""
    _, components = msgspec.json.schema_components(_distinct(types), ref_template=_REFERENCE)
    return components


def schema(declared: Any) -> dict[str, Any]:
    """One type; named ones are references."""
    (found,), _ = msgspec.json.schema_components([declared], ref_template=_REFERENCE)
    return found


def reference(name: str) -> dict[str, Any]:
    """A reference to a named schema."""
    return {"$ref": _REFERENCE.format(name=name)}


def without_none(declared: Any) -> Any:
    """A parameter is left out rather than null."""
    given = [each for each in get_args(declared) if each is not type(None)]
    return given[0] if len(given) == 1 and type(None) in get_args(declared) else declared


def example(described: Mapping[str, Any], components: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """A value that fits a schema: what must be there, nothing else."""
    if "$ref" in described:
        referred = described["$ref"].rpartition("/")[2]
        return _WHOLE.get(referred) or example(components[referred], components, name, depth + 1)
    if "enum" in described:
        return _EXAMPLES[name] if _EXAMPLES.get(name) in described["enum"] else described["enum"][0]
    if "anyOf" in described:
        return example(described["anyOf"][0], components, name, depth)
    kind = described.get("type")
    if name in _EXAMPLES and isinstance(_EXAMPLES[name], _PYTHON_TYPES.get(str(kind), object)):
        return _EXAMPLES[name]
    if described.get("format") == "uuid":
        return _UUID
    if described.get("format") == "date-time":
        return "2027-01-01T00:00:00Z"
    if kind == "object":
        members = described.get("properties", {})
        wanted = described.get("required", ()) if depth < _MOST_DEPTH else ()
        return {each: example(members[each], components, each, depth + 1) for each in wanted if each in members}
    return _simple(described)


_PYTHON_TYPES: Mapping[str, Any] = {"string": str, "integer": int, "array": list, "object": dict}


def _simple(described: Mapping[str, Any]) -> Any:
    match described.get("type"):
        case "array":
            return []
        case "integer":
            return int(described.get("minimum", 1))
        case "number":
            return described.get("minimum", 1)
        case "boolean":
            return True
        case "string":
            return "text"
        case _:
            return {"any": "JSON"}


def _distinct(types: list[Any]) -> list[Any]:
    """Generic types have no order and some no hash that says enough: compared one by one."""
    distinct: list[Any] = []
    for each in types:
        if each not in distinct:
            distinct.append(each)
    return distinct
