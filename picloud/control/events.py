"""Events as people see and edit them: one JSON document, the body of an HTTP request included.

In the database the body lies beside the event, byte for byte. Here it becomes what it
most likely is: JSON, else text, else ``{"base64": …}``. An edit goes the way back, and
leaves the stored bytes alone when the body was not touched. The copy of the content type
that the worker reads is not shown: it follows the header, which may be edited.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast

import msgspec

from picloud.control.records import stored_json
from picloud.errors import InvalidInputError

#: The source whose events have a body beside them.
_WITH_BODY = "http"
_CONTENT_TYPE = "content_type"


def shown_event(source: str, event: bytes, body: bytes | None) -> Any:
    """The event as one JSON value."""
    if source != _WITH_BODY:
        return stored_json(event)
    document: dict[str, Any] = msgspec.json.decode(event)
    return {name: value for name, value in document.items() if name != _CONTENT_TYPE} | {"body": shown_body(body)}


def stored_event(source: str, edited: dict[str, Any], body: bytes | None) -> tuple[bytes, bytes | None]:
    """An edited event as it is stored: the event without the body, and the body.

    Args:
        edited: what ``shown_event`` gave, changed by somebody.
        body: as it is stored now.

    Raises:
        InvalidInputError: the body's base64 cannot be read.
    """
    if source != _WITH_BODY:
        return msgspec.json.encode(edited), body
    rest = {name: value for name, value in edited.items() if name != "body"}
    content_type = _content_type(rest.get("headers"))
    if content_type is not None:
        rest[_CONTENT_TYPE] = content_type
    return msgspec.json.encode(rest), _stored_body(edited.get("body"), body)


def _content_type(headers: Any) -> str | None:
    if not isinstance(headers, dict):
        return None
    values = [value for name, value in cast(dict[str, Any], headers).items() if name.lower() == "content-type"]
    return values[0] if values and isinstance(values[0], str) else None


def shown_body(body: bytes | None) -> Any:
    """JSON as its value, else text, else an object with base64; None for no body."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return blob(body)


def _stored_body(edited: Any, body: bytes | None) -> bytes | None:
    if edited == shown_body(body):
        return body
    if edited is None:
        return None
    encoded = _base64_of(edited)
    if encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise InvalidInputError("event.body.base64: not base64") from None
    # A string stays a string in what was JSON, and is the text itself in what was not.
    if isinstance(edited, str) and not _is_json(body):
        return edited.encode()
    return msgspec.json.encode(edited)


def blob(content: bytes) -> dict[str, str]:
    """Bytes that are no text, as JSON can carry them."""
    return {"base64": base64.b64encode(content).decode("ascii")}


def _base64_of(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    fields = cast(dict[str, Any], value)
    encoded = fields.get("base64")
    return encoded if len(fields) == 1 and isinstance(encoded, str) else None


def _is_json(body: bytes | None) -> bool:
    try:
        msgspec.json.decode(body or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
