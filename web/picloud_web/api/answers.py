"""What an endpoint returned, as a response: JSON with its ETag, a page, or a stream."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import msgspec

from picloud_web.api.conditions import FIGURES, etag_of, is_held
from picloud_web.api.endpoints import Call, EventStream, Html


def write_answer(call: Call, value: Any, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
    """Make ``response`` what ``call`` is answered with when all went well."""
    response.set_headers(call.headers)
    for cookie in call.cookies:
        response.append_header("Set-Cookie", cookie)
    response.set_header("Cache-Control", "no-store")
    if value is None and (call.endpoint.returns is None or call.endpoint.is_stream):
        response.status = 204
    elif isinstance(value, EventStream):
        # nginx keeps back what it thinks is a page unless it is told not to.
        response.set_header("X-Accel-Buffering", "no")
        response.sse = value.events
    elif isinstance(value, Html):
        response.set_header("Content-Security-Policy", value.policy)
        _write(call, falcon.MEDIA_HTML, value.text.encode(), request, response)
    else:
        encoded = msgspec.json.encode(value)
        if "ETag" not in call.headers and (call.endpoint.method == "GET" or type(value) in FIGURES):
            response.set_header("ETag", etag_of(value, encoded))
        _write(call, falcon.MEDIA_JSON, encoded, request, response)


def _write(
    call: Call, media_type: str, content: bytes, request: falcon.asgi.Request, response: falcon.asgi.Response
) -> None:
    etag = response.get_header("ETag")
    if call.endpoint.method == "GET" and etag is not None and is_held(request, etag):
        response.status = 304
        return
    response.status = call.status
    response.content_type = media_type
    response.data = content
