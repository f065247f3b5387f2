from __future__ import annotations

import asyncio
from typing import Any

import falcon.testing
import pytest

from picloud.errors import InvalidInputError
from picloud_web.bodies import MOST_JSON_DEPTH, BodyTooLargeError, WebRequest, check_body, read_body

JSON = "application/json"
CHUNKED = {"Transfer-Encoding": "chunked"}


def read(headers: dict[str, str], *events: dict[str, Any], most_bytes: int = 100) -> bytes | None:
    """Read a body that arrives as these events of ASGI."""
    coming = iter(events)

    async def receive() -> dict[str, Any]:
        return next(coming)

    async def read_it() -> bytes | None:
        scope = falcon.testing.create_scope(method="POST", headers=headers)
        return await read_body(WebRequest(scope, receive), most_bytes)

    return asyncio.run(read_it())


def part(body: bytes, *, is_last: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": not is_last}


LEFT = {"type": "http.disconnect"}


def test_a_body_is_read_whole() -> None:
    assert read({"Content-Length": "4"}, part(b"ab"), part(b"cd", is_last=True)) == b"abcd"
    assert read(CHUNKED, part(b"ab"), part(b"cd", is_last=True)) == b"abcd"
    assert read(CHUNKED, part(b"", is_last=True)) is None
    assert read({}) is None


def test_reading_stops_at_the_first_chunk_beyond_the_limit() -> None:
    for headers in (CHUNKED, {"Content-Length": "101"}):
        with pytest.raises(BodyTooLargeError):
            read(headers, part(b"x" * 60), part(b"x" * 60))  # a third event is not there to be asked for


@pytest.mark.parametrize("headers", [CHUNKED, {"Content-Length": "4"}])
def test_half_a_body_is_not_taken_for_a_whole_one(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        read(headers, part(b"ab"), LEFT)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'"\\u0000"',
        b"9223372036854775807",
        b"-9223372036854775808",
        b"1234567890123456789012.5",
        b'"12345678901234567890123"',
        b"[" * MOST_JSON_DEPTH + b"]" * MOST_JSON_DEPTH,
        b"[" + b"[],".join([b""] * 500) + b"[]]",
        b"null",
    ],
)
def test_json_that_a_script_can_be_given_is_let_in(body: bytes) -> None:
    check_body(body, JSON)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'a': 1}",
        b"NaN",
        b"9223372036854775808",
        b"-9223372036854775809",
        b'{"deep": [18446744073709551616]}',
        b"[" * (MOST_JSON_DEPTH + 1) + b"]" * (MOST_JSON_DEPTH + 1),
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'"\xff"',
        b"\xff\xfe1\x00",
        b'"\\ud800"',
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "Application/JSON; charset=utf-8", "application/problem+json"])
def test_a_body_declared_json_that_is_not_usable_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_body(body, content_type)
    assert refused.value.code == "request_not_usable"


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/octet-stream", "application/jsonp"])
def test_other_bodies_are_nobodys_business(content_type: str | None) -> None:
    check_body(b"{\x00\xff", content_type)


def test_no_body_is_let_in_whatever_it_is_declared_as() -> None:
    check_body(None, JSON)
    check_body(b"", JSON)


def test_a_form_with_more_fields_than_the_engine_reads_is_refused() -> None:
    form = "application/x-www-form-urlencoded"
    check_body(b"&".join([b"a=1"] * 1_000), form)
    with pytest.raises(InvalidInputError):
        check_body(b"&".join([b"a=1"] * 1_001), form)
