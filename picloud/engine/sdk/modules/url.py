"""Addresses taken apart and put together."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, TypedDict, cast

from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.errors import ArgumentError

URL = SdkModule("url", __doc__)

#: As for the queries and forms of requests.
_MOST_FIELDS = 1_000

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class UrlParts(TypedDict):
    """The parts of an address.

    Attributes:
        scheme: in lower case, `""` in a relative address.
        host: in lower case, an IPv6 address without its brackets; `""` where there is none.
        port: `()` where none is written.
        path: as it is written, not decoded.
        query: the same, without `?`; see `parse_query`.
        fragment: the same, without `#`.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    query: str
    fragment: str


@URL.function
def parse(text: str) -> UrlParts:
    """The parts of an address. Name and password in front of the host are left out.

    Throws:
        invalid_input: the host or the port cannot be one.

    Example:
        url::parse("https://Example.org:8443/a%20b?q=1#top").host;  // "example.org"
        url::parse("/orders?page=2").query  // "page=2"
    """
    try:
        parts = urllib.parse.urlsplit(text)
        return {
            "scheme": parts.scheme,
            "host": parts.hostname or "",
            "port": parts.port,
            "path": parts.path,
            "query": parts.query,
            "fragment": parts.fragment,
        }
    except ValueError as error:
        raise ArgumentError(f"not an address: {error}") from None


@URL.function
def join(base: str, relative: str) -> str:
    """Where a link on the page `base` leads to (RFC 3986).

    Throws:
        invalid_input: one of the two is no address.

    Example:
        url::join("https://example.org/a/b", "../c?x=1")  // "https://example.org/c?x=1"
    """
    try:
        return urllib.parse.urljoin(base, relative)
    except ValueError as error:
        raise ArgumentError(f"not an address: {error}") from None


@URL.function
def encode(text: str) -> str:
    """Text as one segment or value: everything but `A-Z a-z 0-9 - . _ ~` becomes `%XX`.

    Example:
        url::encode("a b/ü")  // "a%20b%2F%C3%BC"
    """
    return urllib.parse.quote(text, safe="")


@URL.function
def decode(text: str) -> str:
    """The reverse of `encode`. A `+` stays one: only in queries it is a space, see `parse_query`.

    Throws:
        invalid_input: a `%` without two hex digits behind it, or bytes that are not UTF-8.

    Example:
        url::decode("a%20b%2F%C3%BC")  // "a b/ü"
    """
    if (broken := _BROKEN_ESCAPE.search(text)) is not None:
        raise ArgumentError(f"the % at position {broken.start()} has no two hex digits behind it")
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ArgumentError("the decoded bytes are not text in UTF-8") from None


@URL.function
def query(fields: dict[str, Any]) -> str:
    """Fields as a query, in the order of their names. An array repeats its name, `()` is left out.

    Throws:
        invalid_input: a value is no text, number, bool or array of these.

    Example:
        url::query(#{ q: "a b", page: 2, tag: ["x", "y"], none: () })  // "page=2&q=a%20b&tag=x&tag=y"
    """
    pairs: list[tuple[str, str]] = []
    for name, value in sorted(fields.items()):
        values = cast("list[object]", value) if isinstance(value, list) else [value]
        pairs += [(name, _field(name, each)) for each in values if each is not None]
    return urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote, safe="")


@URL.function
def parse_query(text: str) -> dict[str, Any]:
    """The fields of a query or form, like `ctx.request.query`: a name that is repeated has an array.

    Throws:
        invalid_input: there are more than 1,000.

    Example:
        url::parse_query("?a=1&b=x+y&b=z")  // #{ a: "1", b: ["x y", "z"] }
    """
    try:
        return query_fields(text.removeprefix("?"))
    except ValueError as error:
        raise ArgumentError(str(error)) from None


def query_fields(text: str) -> dict[str, Any]:
    """The fields of a query or form.

    Raises:
        ValueError: there are more than 1,000.
    """
    fields = urllib.parse.parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _field(name: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            raise ArgumentError(f"the value of `{name}` is no text, number, bool or array of these")
