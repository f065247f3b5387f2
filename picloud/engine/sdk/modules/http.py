"""Calls to other servers, made at once, not when the run is committed: a run that is tried again calls again.

Each call carries `Idempotency-Key: <execution id>:<number of the call>`, the same whenever the run is tried, so that
the other side can tell. Private addresses are reached only where an admin of the installation allows it, this machine
never.
"""

from __future__ import annotations

from typing import Any, TypedDict

import rhai

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.errors import ArgumentError
from picloud.engine.sdk.options import read_options
from picloud.services.outbound import OutboundRequest, OutboundResponse

HTTP = SdkModule("http", __doc__)


class CallOptions(TypedDict, total=False):
    """How a call is made.

    Attributes:
        headers: names and values.
        timeout_seconds: for all of it, 30 when not given.
        follow_redirects: true when not given.
    """

    headers: dict[str, Any]
    timeout_seconds: float
    follow_redirects: bool


class Call(CallOptions, total=False):
    """A whole call.

    Attributes:
        method: GET when not given.
        url: http or https.
        body: a string or a blob as it is; anything else as JSON.
    """

    method: str
    url: str
    body: Any


@HTTP.function
def get(run: RunContext, url: str, options: CallOptions | None = None) -> dict[str, Any]:
    """GET a URL; `#{ status, headers, body }`.

    A body that says it is JSON is parsed, text is a string, the rest a blob.

    Throws:
        bad_url: it is not one of http or https with a plain host.
        bad_header: one is malformed, or not the script's to set.
        bad_call: the method or the timeout cannot be used.
        request_too_large: the body; nothing was sent.
        address_not_allowed: the app may not call this address.
        host_not_found: the name has no address.
        connection_failed: there is no connection, or it broke; `e.retryable`.
        tls_failed: the other side speaks no TLS, or its certificate does not hold.
        timeout: the call took too long; `e.retryable`.
        bad_response: what came back is no HTTP.
        response_too_large: what came back; the rest was not read.
        bad_redirect: it leads to where no call may go.
        too_many_redirects: one more than is followed.

    Example:
        let weather = http::get("https://api.example.com/weather").body;
    """
    return _call(run, "GET", url, None, read_options(options or {}, CallOptions))


@HTTP.function
def post(run: RunContext, url: str, body: Any, options: CallOptions | None = None) -> dict[str, Any]:
    """POST to a URL; see `get`. A string or a blob is sent as it is, anything else as JSON.

    Example:
        http::post("https://hooks.example.com/x", #{ text: "done" }, #{ timeout_seconds: 5 });
    """
    return _call(run, "POST", url, body, read_options(options or {}, CallOptions))


@HTTP.function
def request(run: RunContext, options: Call) -> dict[str, Any]:
    """Any call; see `get`.

    Example:
        http::request(#{ method: "DELETE", url: "https://api.example.com/items/7" }).status
    """
    wanted = read_options(options, Call)
    if "url" not in wanted:
        raise ArgumentError("the option `url` is missing")
    return _call(run, wanted.get("method", "GET"), wanted["url"], wanted.get("body"), wanted)


def _call(run: RunContext, method: str, url: str, body: Any, options: CallOptions) -> dict[str, Any]:
    headers = _headers(options.get("headers", {}))
    data, content_type = body_bytes(body)
    if content_type and not any(name.lower() == "content-type" for name, _ in headers):
        headers = (*headers, ("Content-Type", content_type))
    wanted = OutboundRequest(
        method.upper(),
        url,
        headers,
        data,
        timeout_seconds=options.get("timeout_seconds", 30.0),
        follow_redirects=options.get("follow_redirects", True),
    )
    return _shown(run.services.call(wanted))


def _headers(given: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    for name, value in given.items():
        if not isinstance(value, str):
            raise ArgumentError(f"the header {name!r} must be a string")
    return tuple(given.items())


def body_bytes(value: Any) -> tuple[bytes | None, str | None]:
    """A body as a script writes it, and the media type it has when nothing is said."""
    match value:
        case None:
            return None, None
        case str():
            return value.encode(), "text/plain; charset=utf-8"
        case bytes():
            return value, "application/octet-stream"
        case _:
            return rhai.stringify_json(value), "application/json"


def _shown(response: OutboundResponse) -> dict[str, Any]:
    headers: dict[str, str] = {}
    for name, value in response.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return {"status": response.status, "headers": headers, "body": _content(response.body, headers)}


def _content(body: bytes, headers: dict[str, str]) -> Any:
    if not body:
        return None
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return rhai.parse_json(body)
        except rhai.RhaiInputError:
            pass  # it says so and is not: the script gets what came
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body
