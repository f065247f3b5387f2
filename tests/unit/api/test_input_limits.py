"""Nothing a caller can make large is without a limit of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from picloud_web.api import all_endpoints
from picloud_web.api.described_values import schemas

#: What is bounded by the size of its body alone, and why no number of its own would mean anything.
_BY_THE_BODY = {
    "Edit.event": "a JSON value of an app: bytes and depth count, not members",
    "Trial.event": "a JSON value of an app: bytes and depth count, not members",
    "Emission.event": "a JSON value of an app: bytes and depth count, not members",
    "DeployRequest.manifest": "8 MiB of body; a manifest's own rules bound what is in it",
    "DeployRequest.files": "8 MiB of body; an app is as large as it is",
}


def _inputs() -> dict[str, Any]:
    declared = [
        each
        for endpoint in all_endpoints()
        for each in (endpoint.query, endpoint.headers, endpoint.body)
        if each is not None and each is not msgspec.Raw
    ]
    return schemas(declared)


def _unbounded(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for each in schema.get("anyOf", ()):
        yield from _unbounded(name, each)
    kind = schema.get("type")
    if kind == "string" and not {"maxLength", "enum", "const", "format"} & schema.keys():
        yield name
    if kind == "string" and schema.get("format") == "password" and "maxLength" not in schema:
        yield name
    if kind == "array":
        if "maxItems" not in schema:
            yield name
        yield from _unbounded(f"{name}[]", schema.get("items", {}))
    if kind == "object":
        more = schema.get("additionalProperties", "properties" not in schema)
        if more is not False:
            if "maxProperties" not in schema:
                yield name
            yield from _unbounded(f"{name}[]", more if isinstance(more, dict) else {})
        for member, each in schema.get("properties", {}).items():
            yield from _unbounded(f"{name}.{member}", each)


def test_every_text_list_and_object_a_caller_can_send_is_bounded() -> None:
    unbounded = {place.removesuffix("[]") for name, schema in _inputs().items() for place in _unbounded(name, schema)}
    assert unbounded == set(_BY_THE_BODY)
