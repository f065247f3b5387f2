"""The control API as an OpenAPI 3.1 document, made from the endpoints themselves."""

import functools
import http
from typing import Any, get_args

import msgspec

from picloud import __version__
from picloud_web.api.endpoints import Call, Endpoint, Endpoints

api = Endpoints("description")

_REFERENCE = "#/components/schemas/{name}"
_PLACEHOLDER_SCHEMAS: dict[str | None, dict[str, Any]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer", "minimum": 1, "maximum": 2_147_483_647},
    "path": {"type": "string", "minLength": 1},
    "segment": {"type": "string", "minLength": 1},
    None: {"type": "string", "minLength": 1},
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong (RFC 9457). Programs go by `code`."""

    type: str
    title: str
    status: int
    detail: str | None
    code: str
    execution_id: str | None


@api.get("/openapi.json", needs=None)
async def show_description(_call: Call) -> dict[str, Any]:
    """This document."""
    return document()


@functools.cache
def document() -> dict[str, Any]:
    """The document; the same for as long as the process lives."""
    from picloud_web.api import PREFIX, all_endpoints

    endpoints = all_endpoints()
    types = [each for endpoint in endpoints for each in (endpoint.body, endpoint.returns) if each is not None]
    _, components = msgspec.json.schema_components([*_distinct(types), Problem], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(PREFIX + _plain_path(endpoint), {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PiCloud",
            "version": __version__,
            "description": "The control API of a PiCloud installation. Every call needs an API key.",
        },
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "bearerFormat": "pic_…"}},
        },
    }


def _distinct(types: list[Any]) -> list[Any]:
    """Generic types have no order and some no hash that says enough: compared one by one."""
    distinct: list[Any] = []
    for each in types:
        if each not in distinct:
            distinct.append(each)
    return distinct


def _plain_path(endpoint: Endpoint) -> str:
    path = endpoint.path
    for name, converter in endpoint.placeholders:
        if converter is not None:
            path = path.replace(f"{{{name}:{converter}}}", f"{{{name}}}")
    return path


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint), *_header_parameters(endpoint)],
        "responses": _responses(endpoint),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.body is msgspec.Raw
            or any(field.required for field in msgspec.structs.fields(endpoint.body)),
            "content": {"application/json": {"schema": _schema(endpoint.body)}},
        }
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    """Unique: an endpoint that is also served below an app is called by another name there."""
    name = endpoint.handler.__name__
    is_alias = endpoint.path.startswith("/apps/{app}/") and endpoint.tag in _SERVED_TWICE
    return f"{name}_of_app" if is_alias else name


_SERVED_TWICE = frozenset({"executions", "logs", "outbox", "dead letters", "system"})


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PLACEHOLDER_SCHEMAS[converter]}
        for name, converter in endpoint.placeholders
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return _parameters(endpoint.query, "query")


def _header_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return _parameters(endpoint.headers, "header")


def _parameters(declared: Any, place: str) -> list[dict[str, Any]]:
    if declared is None:
        return []
    return [
        {
            "name": field.encode_name,
            "in": place,
            "required": field.required,
            "schema": _schema(_without_none(field.type)),
        }
        for field in msgspec.structs.fields(declared)
    ]


def _without_none(declared: Any) -> Any:
    """A parameter is left out rather than null."""
    given = [each for each in get_args(declared) if each is not type(None)]
    return given[0] if len(given) == 1 and type(None) in get_args(declared) else declared


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in endpoint.statuses if endpoint.returns is not None else (204,):
        responses[str(status)] = {"description": http.HTTPStatus(status).phrase}
        if endpoint.returns is not None:
            responses[str(status)]["content"] = {"application/json": {"schema": _schema(endpoint.returns)}}
    problem = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(name="Problem")}}}
    responses["default"] = {"description": "A problem", "content": problem}
    return responses


def _schema(declared: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([declared], ref_template=_REFERENCE)
    return schema


ENDPOINTS = api.collected()
