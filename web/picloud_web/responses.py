"""A script's answer as an HTTP response.

Scripts write headers, so what they must not decide is taken out here: the
framing of the connection, what would outlive the page for a whole origin
(``Strict-Transport-Security``, ``Clear-Site-Data``, …), PiCloud's own session
cookie, and on PiCloud's own host every cookie. There each response is also put
into a sandbox: a page of an app, opened by somebody who is signed in, gets an
opaque origin and so can neither read their cookies nor call the control API.
"""

from __future__ import annotations

import string
from uuid import UUID

import falcon.asgi

from picloud.broker import Reply
from picloud_web import problems
from picloud_web.events import SESSION_COOKIE

#: No ``allow-same-origin``: that is the point.
SANDBOX = "sandbox allow-scripts allow-forms allow-popups allow-downloads"

#: Never from a script, on no host: hop-by-hop fields (RFC 9110, section 7.6.1), framing, and what binds the
#: whole origin, now or for later.
_NEVER = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "date",
        "server",
        "alt-svc",
        "clear-site-data",
        "nel",
        "report-to",
        "service-worker-allowed",
        "strict-transport-security",
        # PiCloud's own, set below.
        "x-execution-id",
        "traceparent",
    }
)
#: A list of values would make no sense: the last one counts.
_SINGLE = frozenset({"content-type", "location"})
_COOKIES = frozenset({"set-cookie", "set-cookie2"})

_TOKEN = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")  # RFC 9110, section 5.6.2
_WITHOUT_BODY = frozenset({204, 205, 304})

_MEDIA_TYPES = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "blob": "application/octet-stream",
}


class UnsendableResponseError(Exception):
    """Raised when a script's response is no HTTP response; its text says why."""


def sandbox(response: falcon.asgi.Response) -> None:
    """Give ``response`` an opaque origin in browsers; policies add up, so a script's own cannot loosen it."""
    response.append_header("Content-Security-Policy", SANDBOX)


def write_reply(response: falcon.asgi.Response, reply: Reply, *, is_own_host: bool) -> None:
    """Make ``response`` the script's answer, or the problem it failed with."""
    execution_id = reply.execution_id
    if reply.error is not None:
        _write_failure(response, reply.error, execution_id)
    else:
        try:
            _write_result(response, reply, is_own_host)
        except UnsendableResponseError as error:
            problems.write(response, "invalid_response", str(error), execution_id=execution_id)
    response.set_header("X-Execution-Id", str(execution_id))


def _write_failure(response: falcon.asgi.Response, error: dict[str, object], execution_id: UUID) -> None:
    """A failed run. What a script threw is its author's to say; where in the script it failed is not for callers."""
    code = str(error.get("code", "internal_error"))
    message = error.get("message")
    detail = message if isinstance(message, str) else None
    problems.write(response, code, detail, status=problems.status_of_code(code), execution_id=execution_id)


def _write_result(response: falcon.asgi.Response, reply: Reply, is_own_host: bool) -> None:
    kind = reply.result_kind
    if kind == "unit" or kind is None:
        response.status = 204
        return
    if kind == "response":
        headers = sendable_headers(reply.http_headers, is_own_host=is_own_host)
        status = reply.http_status or 200
        if not 200 <= status <= 599:
            raise UnsendableResponseError(f"{status} is no status of a final response (200 to 599)")
        response.status = status
        for name, value in headers:
            if name in _SINGLE:
                response.set_header(name, value)
            else:
                response.append_header(name, value)
        if status not in _WITHOUT_BODY:
            response.data = reply.data or b""
            if response.content_type is None:
                response.content_type = "application/octet-stream"
        return
    response.status = 200
    response.content_type = _MEDIA_TYPES.get(kind, "application/octet-stream")
    response.data = reply.data or b""


def sendable_headers(headers: tuple[tuple[str, str], ...], *, is_own_host: bool) -> list[tuple[str, str]]:
    """A script's headers without those it may not set, lowercase names.

    Raises:
        UnsendableResponseError: a name is no token, or a value would break out of its line.
    """
    kept: list[tuple[str, str]] = []
    for given_name, value in headers:
        name = given_name.lower()
        if not name or not _TOKEN.issuperset(name):
            raise UnsendableResponseError("a header's name is not a token")
        if not value.isprintable() and not _is_field_value(value):
            raise UnsendableResponseError(f"the value of the header {name} holds a control character")
        if not value.isascii() and not _is_latin_1(value):
            raise UnsendableResponseError(f"the value of the header {name} is not ISO 8859-1")
        if name in _NEVER or (name in _COOKIES and (is_own_host or _names_session(value))):
            continue
        kept.append((name, value))
    return kept


def _is_field_value(value: str) -> bool:
    """No control character but the tab: CR, LF and NUL would begin another header or another response."""
    return all(character == "\t" or (character >= " " and character != "\x7f") for character in value)


def _is_latin_1(value: str) -> bool:
    return all(character <= "\xff" for character in value)


def _names_session(cookie: str) -> bool:
    """Would this cookie be PiCloud's session on a parent domain that app and PiCloud share?"""
    return cookie.partition("=")[0].strip().removeprefix("__Host-").removeprefix("__Secure-") == SESSION_COOKIE
