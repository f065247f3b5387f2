"""The control API as an OpenAPI 3.1 document, made from the endpoints themselves."""

import functools
from typing import Any

import msgspec

from picloud import __version__
from picloud.access import GRANTS, InstanceRole
from picloud_web.api.described_answers import describe_answers
from picloud_web.api.described_values import example, schema, schemas, without_none
from picloud_web.api.endpoints import Call, Endpoint, Endpoints, Html
from picloud_web.events import SESSION_COOKIE

api = Endpoints("description")

_PLACEHOLDER_SCHEMAS: dict[str | None, dict[str, Any]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer", "minimum": 1, "maximum": 2_147_483_647},
    "path": {"type": "string", "minLength": 1},
    "segment": {"type": "string", "minLength": 1},
    None: {"type": "string", "minLength": 1},
}

#: Headers that mean the same everywhere.
_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "What the caller calls this request: up to 100 printable ASCII characters. Others get a new one.",
    "schema": {"type": "string"},
}
_AUDIT_REASON = {
    "name": "X-Audit-Reason",
    "in": "header",
    "description": "Why, for the audit log: percent-encoded UTF-8.",
    "schema": {"type": "string", "maxLength": 1_000},
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of an answer the caller has: 304 when it is still the same.",
    "schema": {"type": "string"},
}

_ABOUT = (
    "The control API of a PiCloud installation. Who calls presents an API key, or the session of a signed-in person."
    " Errors are problem documents (RFC 9457); programs go by `code`."
)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong (RFC 9457). Programs go by `code`; `request_id` finds it in the log."""

    type: str
    title: str
    status: int
    detail: str | None
    code: str
    execution_id: str | None
    request_id: str | None = None


@api.get("/openapi.json", needs=None)
async def show_description(_call: Call) -> dict[str, Any]:
    """This document."""
    return document()


@functools.cache
def document() -> dict[str, Any]:
    """The document; the same for as long as the process lives."""
    from picloud_web.api import PREFIX, all_endpoints

    endpoints = all_endpoints()
    components = schemas([*_types(endpoints), Problem])
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, components)
        paths.setdefault(PREFIX + plain_path(endpoint), {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "PiCloud", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}, {"session": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "bearerFormat": "pic_…"},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
            },
        },
    }


def plain_path(endpoint: Endpoint) -> str:
    """Its path with nothing but names in the placeholders."""
    path = endpoint.path
    for name, converter in endpoint.placeholders:
        if converter is not None:
            path = path.replace(f"{{{name}:{converter}}}", f"{{{name}}}")
    return path


def _types(endpoints: tuple[Endpoint, ...]) -> list[Any]:
    found: list[Any] = []
    for endpoint in endpoints:
        found += [endpoint.body] if endpoint.body is not None else []
        found += endpoint.events.values()
        if endpoint.returns is not None and endpoint.returns is not Html and not endpoint.is_stream:
            found.append(endpoint.returns)
    return found


def _operation(endpoint: Endpoint, components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": _parameters(endpoint, components),
        "responses": describe_answers(endpoint),
        **_needs(endpoint),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.body is not None:
        described = schema(endpoint.body)
        operation["requestBody"] = {
            "required": endpoint.body is msgspec.Raw
            or any(field.required for field in msgspec.structs.fields(endpoint.body)),
            "content": {"application/json": {"schema": described, "example": example(described, components)}},
            "x-max-bytes": endpoint.max_body_bytes,
        }
    return operation


def _needs(endpoint: Endpoint) -> dict[str, Any]:
    """Who may: the capability, the lowest role that has it, and the scopes of which a key needs one."""
    if endpoint.needs is None:
        return {"security": []}
    grant = GRANTS[endpoint.needs]
    where = "installation" if isinstance(grant.role, InstanceRole) else "app"
    return {
        "x-capability": str(endpoint.needs),
        "x-role": f"{grant.role} of the {where}",
        "x-scopes": sorted(grant.scopes),
    }


def _parameters(endpoint: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    placeholders: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PLACEHOLDER_SCHEMAS[converter]}
        for name, converter in endpoint.placeholders
    ]
    for each in placeholders:
        each["example"] = example(each["schema"], components, str(each["name"]))
    common: list[dict[str, Any]] = [_REQUEST_ID]
    if endpoint.method == "GET":
        common += [_IF_NONE_MATCH] if not endpoint.is_stream else []
    elif endpoint.needs is not None:
        common.append(_AUDIT_REASON)
    return [*placeholders, *_declared(endpoint.query, "query"), *_declared(endpoint.headers, "header"), *common]


def _declared(declared: Any, place: str) -> list[dict[str, Any]]:
    if declared is None:
        return []
    found: list[dict[str, Any]] = []
    for field in msgspec.structs.fields(declared):
        described = schema(without_none(field.type))
        parameter = {"name": field.encode_name, "in": place, "required": field.required}
        if meaning := described.pop("description", None):
            parameter["description"] = meaning
        found.append(parameter | {"schema": described})
    return found


ENDPOINTS = api.collected()
