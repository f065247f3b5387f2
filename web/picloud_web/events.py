"""What a script will see of a request: the event document, without the body.

Before anything is stored, whatever could let the script act as somebody is
taken out: PiCloud's session cookie, and every ``pic_…`` credential in a header,
the query or the path. Payloads are kept for days and shown in dead letters, so
this happens here, at the door, and not where they are read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec

from picloud.errors import InvalidInputError
from picloud.services.provenance import HEADER as HOPS_HEADER

SESSION_COOKIE = "picloud_session"
_SESSION_COOKIES = frozenset({SESSION_COOKIE, f"__Host-{SESSION_COOKIE}"})

#: Every kind of PiCloud's credentials: ``pic_``, a kind, and random characters.
_CREDENTIAL = re.compile(r"pic_[A-Za-z0-9_]{12,}")
_CREDENTIAL_START = "pic_"
_REMOVED = "pic_removed"

_MOST_QUERY_FIELDS = 1_000

#: Believed from a trusted proxy only; from anybody else a script would take a claim for a fact.
_FORWARDED_HEADERS = frozenset(
    {
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-real-ip",
    }
)

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request as it came, without its body.

    Attributes:
        path: inside the app, percent-decoded.
        query: as it came, without the question mark.
        headers: by lowercase name.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    is_proxy_trusted: bool


def event_document(head: RequestHead, params: dict[str, str], caller: str | None = None) -> bytes:
    """The JSON document that becomes ``ctx.request``, credentials removed; ``caller`` becomes ``ctx.principal``.

    Raises:
        InvalidInputError: code ``request_not_usable``: the query has too many fields.
    """
    headers = _headers(head)
    document: dict[str, object] = {
        "method": head.method,
        "path": _without_credentials(head.path),
        "params": {name: _without_credentials(value) for name, value in params.items()},
        "query": _query(head.query) if head.query else {},
        "headers": headers,
        "content_type": headers.get("content-type"),
    }
    if caller is not None:
        document["caller"] = caller
    return _encode(document)


def fingerprint(head: RequestHead, body: bytes | None, caller: str | None = None) -> bytes:
    """What an Idempotency-Key names: SHA-256 of method, path, query, body and caller, each preceded by its length."""
    digest = hashlib.sha256()
    path = head.path.encode("utf-8", "surrogateescape")
    for part in (head.method.encode(), path, head.query.encode(), body or b"", (caller or "").encode()):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _headers(head: RequestHead) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in head.headers.items():
        if name in _FORWARDED_HEADERS and not head.is_proxy_trusted:
            continue
        if name == HOPS_HEADER:
            continue  # read at the door
        kept = _without_session(value) if name == "cookie" else value
        if kept and not _carries_credential(name, kept):
            found[name] = kept
    return found


def _without_session(cookies: str) -> str:
    if SESSION_COOKIE not in cookies:
        return cookies
    kept = (pair for pair in cookies.split(";") if pair.partition("=")[0].strip() not in _SESSION_COOKIES)
    return ";".join(kept).strip()


def _carries_credential(name: str, value: str) -> bool:
    if _contains_credential(value):
        return True
    if name.endswith("authorization") and value[:6].lower() == "basic ":
        # `curl -u key:` hides the key in base64.
        try:
            decoded = base64.b64decode(value[6:].strip() + "==").decode("latin-1")
        except (binascii.Error, ValueError):
            return False
        return _contains_credential(decoded)
    return False


def _contains_credential(text: str) -> bool:
    return _CREDENTIAL_START in text and _CREDENTIAL.search(text) is not None


def _without_credentials(text: str) -> str:
    return _CREDENTIAL.sub(_REMOVED, text) if _CREDENTIAL_START in text else text


def _query(query: str) -> dict[str, str | list[str]]:
    """Fields by name; a repeated name becomes a list, in order."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_QUERY_FIELDS)
    except ValueError as error:
        message = f"the query has more than {_MOST_QUERY_FIELDS} fields"
        raise InvalidInputError(message, code="request_not_usable") from error
    found: dict[str, str | list[str]] = {}
    for name, value in fields:
        if _contains_credential(name) or _contains_credential(value):
            continue
        before = found.get(name)
        if before is None:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found
