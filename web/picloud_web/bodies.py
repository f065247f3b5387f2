"""The body of a request: read within the limit, and refused when no script could be given it.

Neither the server nor the framework bounds a body. It is counted while it
arrives, so that a body without a declared length cannot fill the memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import falcon.asgi
import msgspec

from picloud.errors import InvalidInputError

#: Nesting of a JSON body. The engine walks values up to 128 deep; ``ctx.request.body`` itself is three levels down.
MOST_JSON_DEPTH = 120
#: Fields of a submitted form: the engine's own limit.
_MOST_FORM_FIELDS = 1_000

#: Only a number with this many digits can be out of the range of 64 bits.
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1

_decode = msgspec.json.Decoder().decode


class BodyTooLargeError(InvalidInputError):
    """Raised when a body is larger than PICLOUD_MAX_BODY_BYTES."""

    code = "body_too_large"


class WebRequest(falcon.asgi.Request):
    """A request that knows whether its body was cut off.

    Falcon ends a body in the same way when it is complete and when the client
    has left in the middle of it: half a body without a declared length would be
    accepted as a whole one.
    """

    def __init__(self, scope: dict[str, Any], receive: Any, first_event: Any = None, options: Any = None) -> None:
        self.is_cut_off = False

        async def watched() -> Any:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.is_cut_off = True
            return event

        super().__init__(scope, watched, first_event=first_event, options=options)


async def read_body(request: falcon.asgi.Request, most_bytes: int) -> bytes | None:
    """The whole body; None when the request has none.

    Raises:
        BodyTooLargeError: at the first chunk beyond ``most_bytes``; a declared length is believed before any is read.
        InvalidInputError: the client left in the middle of it.
    """
    declared = request.content_length
    if declared is not None and declared > most_bytes:
        raise _too_large(most_bytes)
    if declared == 0 or (declared is None and request.get_header("transfer-encoding") is None):
        return None
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream:
        size += len(chunk)
        if size > most_bytes:
            raise _too_large(most_bytes)
        chunks.append(chunk)
    if isinstance(request, WebRequest) and request.is_cut_off:
        raise InvalidInputError("the body ended before its end")
    return (chunks[0] if len(chunks) == 1 else b"".join(chunks)) or None


def _too_large(most_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than {most_bytes} bytes", hint="PICLOUD_MAX_BODY_BYTES")


def check_body(body: bytes | None, content_type: str | None) -> None:
    """Refuse a body that claims to be JSON or a form and cannot be handed to a script as such.

    Raises:
        InvalidInputError: code ``request_not_usable``; says what is wrong.
    """
    if not body or not content_type:
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        _check_json(body)
    elif media_type == "application/x-www-form-urlencoded" and body.count(b"&") >= _MOST_FORM_FIELDS:
        raise _not_usable(f"the form has more than {_MOST_FORM_FIELDS} fields")


def _check_json(body: bytes) -> None:
    try:
        value = _decode(body)
    except RecursionError:
        raise _not_usable(f"the body's JSON is nested deeper than {MOST_JSON_DEPTH}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_usable(f"the body is declared JSON and is not: {error}") from None
    # PERF: walking the value costs ten times its decoding; most bodies cannot break either rule and are not walked.
    if body.count(b"[") + body.count(b"{") > MOST_JSON_DEPTH or _LONG_NUMBER.search(body):
        _walk(value, MOST_JSON_DEPTH)


def _walk(value: Any, levels_left: int) -> None:
    if isinstance(value, dict | list):
        if not levels_left:
            raise _not_usable(f"the body's JSON is nested deeper than {MOST_JSON_DEPTH}")
        for each in cast(Iterable[Any], value.values() if isinstance(value, dict) else value):
            _walk(each, levels_left - 1)
    elif isinstance(value, int) and not _LOWEST <= value <= _HIGHEST:
        raise _not_usable("a number in the body's JSON does not fit into 64 bits")


def _not_usable(message: str) -> InvalidInputError:
    return InvalidInputError(message, code="request_not_usable")
