"""HTTP requests of a test to the app: through the routes of its manifest, as the data plane would answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import unquote

from picloud.apptests.rows import Ended, Line
from picloud.apptests.runs import body_value, shown_line
from picloud.engine.calls import to_json
from picloud.engine.sdk.errors import ArgumentError
from picloud.engine.sdk.modules.http import body_bytes
from picloud.engine.sdk.modules.url import query_fields
from picloud.engine.sdk.options import read_options
from picloud.manifest import METHODS

if TYPE_CHECKING:
    from picloud.apptests.world import World

#: What the data plane makes of a failed run; whatever is not here failed in the script: 502.
STATUS_BY_CODE = {
    "script_does_not_compile": 422,
    "request_not_usable": 422,
    "script_timeout": 504,
    "sandbox_limit_exceeded": 507,
    "depth_exceeded": 508,
    "internal_error": 500,
}

_MEDIA_TYPES = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "blob": "application/octet-stream",
}


class RequestOptions(TypedDict, total=False):
    """A request.

    Attributes:
        method: GET when not given.
        path: inside the app; a query may follow.
        query: names and values, or arrays of values.
        headers: names and values.
        body: a string or a blob as it is; anything else as JSON.
        principal: who calls, as `ctx.principal` says it; how routes check keys is not played.
    """

    method: str
    path: str
    query: dict[str, Any]
    headers: dict[str, Any]
    body: Any
    principal: str


def send(world: World, given: dict[str, Any]) -> dict[str, Any]:
    """Send a request and answer as the data plane would.

    Raises:
        ArgumentError: it is no request.
    """
    options = read_options(given, RequestOptions)
    method = options.get("method", "GET").upper()
    path, _, query = options.get("path", "/").partition("?")
    if method not in METHODS or not path.startswith("/"):
        raise ArgumentError(f"expected a method and a path that begins with /, not {method} {path}")
    segments = tuple(unquote(each) for each in path[1:].split("/"))
    match = world.app.routes.find(method, segments)
    if match is None:
        return _refused(method, world.app.routes.methods(segments))
    body, content_type = body_bytes(options.get("body"))
    if len(body or b"") > world.app.settings.max_body_bytes:
        return _problem(413, "body_too_large", f"the body has more than {world.app.settings.max_body_bytes} bytes")
    headers = _headers(options.get("headers", {}), content_type)
    event = {
        "method": method,
        "path": "/" + "/".join(segments),
        "params": match.params,
        "query": query_fields(query) | options.get("query", {}),
        "headers": headers,
        "content_type": headers.get("content-type"),
    }
    if "principal" in options:
        event["caller"] = options["principal"]
    route = match.route
    row = world.new_row(
        "http",
        route.script,
        to_json(event),
        trigger=f"{route.method} {route.path}",
        body=body,
        principal=options.get("principal", "test"),
        is_sync=route.dispatch_mode == "sync",
    )
    if not row.is_sync:
        world.waiting.append(row)
        return _accepted(world, str(row.id))
    return _answered(*world.run_now(row))


def _headers(given: dict[str, Any], content_type: str | None) -> dict[str, str]:
    headers = {name.lower(): str(value) for name, value in given.items()}
    return headers if content_type is None else {"content-type": content_type} | headers


def _answered(ended: Ended, lines: list[Line]) -> dict[str, Any]:
    identifier = str(ended.row.id)
    logs = [shown_line(each) for each in lines]
    if ended.error is not None:
        code = str(ended.error["code"])
        refused = _problem(STATUS_BY_CODE.get(code, 502), code, ended.error.get("message"), identifier)
        return refused | {"error": ended.error, "logs": logs}
    result = ended.result
    status, headers = 200, dict(result.headers)
    if result.kind in ("unit", None):
        status = 204
    elif result.kind == "response":
        status = result.http_status or 200
    else:
        headers = {"content-type": _MEDIA_TYPES[result.kind]}
    body = body_value(result.data or b"", headers.get("content-type", ""))
    return _response(status, headers, body, identifier) | {"logs": logs}


def _accepted(world: World, identifier: str) -> dict[str, Any]:
    body = {"accepted_at": world.clock.text(), "execution_id": identifier}
    return _response(202, {"content-type": "application/json"}, body, identifier)


def _refused(method: str, allowed: list[str]) -> dict[str, Any]:
    if not allowed:
        return _problem(404, "not_found", "no route of this app answers this path")
    allow = {"allow": ", ".join(allowed)}
    if method == "OPTIONS":
        return _response(204, allow, None, None)
    refused = _problem(405, "method_not_allowed", "this path answers other methods")
    return refused | {"headers": refused["headers"] | allow}


def _problem(status: int, code: str, detail: Any, identifier: str | None = None) -> dict[str, Any]:
    body = {"status": status, "code": code, "detail": detail, "execution_id": identifier}
    return _response(status, {"content-type": "application/problem+json"}, body, identifier)


def _response(status: int, headers: dict[str, str], body: Any, identifier: str | None) -> dict[str, Any]:
    named = headers if identifier is None else headers | {"x-execution-id": identifier}
    return {
        "status": status,
        "headers": named,
        "body": body,
        "execution_id": identifier,
        "error": None,
        "logs": [],
    }
