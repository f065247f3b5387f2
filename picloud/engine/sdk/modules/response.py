"""Answers with a status and headers of the script's choice.

The last value of the script. A status outside of 200 to 599 throws `invalid_input`.
"""

from __future__ import annotations

import rhai

from picloud.engine.sdk.description import SdkModule, offered
from picloud.engine.sdk.errors import ArgumentError

RESPONSE = SdkModule("response", __doc__)


@RESPONSE.host_type
class Response:
    """An answer in full control of status and headers."""

    __slots__ = ("data", "headers", "status")

    def __init__(self, status: int, data: bytes, content_type: str | None) -> None:
        if not 200 <= status <= 599:
            raise ArgumentError(f"a status from 200 to 599 is expected, not {status}")
        self.status = status
        self.data = data
        self.headers: list[tuple[str, str]] = [("content-type", content_type)] if content_type else []

    @offered
    def with_header(self, name: str, value: str) -> Response:
        """The same answer with one more header; `content-type` replaces the one there is.

        Example:
            response::text(200, "body {}").with_header("content-type", "text/css")
        """
        changed = Response(self.status, self.data, None)
        replaced = name.lower() == "content-type"
        changed.headers = [kept for kept in self.headers if not (replaced and kept[0] == "content-type")]
        changed.headers.append((name.lower(), value))
        return changed


@RESPONSE.function
def json(status: int, value: rhai.Json) -> Response:
    """`value` as JSON.

    Example:
        response::json(201, #{ id: 7 })
    """
    return Response(status, value.data, "application/json")


@RESPONSE.function
def text(status: int, text: str) -> Response:
    """Plain text.

    Example:
        response::text(404, "no such order")
    """
    return Response(status, text.encode(), "text/plain; charset=utf-8")


@RESPONSE.function
def html(status: int, text: str) -> Response:
    """A page. Serve pages from the app's own host: on PiCloud's they are sandboxed.

    Example:
        response::html(200, "<h1>Hello</h1>")
    """
    return Response(status, text.encode(), "text/html; charset=utf-8")


@RESPONSE.function(name="bytes")
def raw(status: int, data: bytes, content_type: str) -> Response:
    """Raw bytes of a media type.

    Example:
        response::bytes(200, base64::decode("R0lGODlhAQABAAAAACwAAAAAAQABAAAC"), "image/gif")
    """
    return Response(status, data, content_type)


@RESPONSE.function
def redirect(url: str) -> Response:
    """302 to `url`.

    Example:
        response::redirect("/orders/7")
    """
    return Response(302, b"", None).with_header("location", url)


@RESPONSE.function
def empty(status: int) -> Response:
    """An answer without a body.

    Example:
        response::empty(204)
    """
    return Response(status, b"", None)
