"""Events as people see and edit them."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.control.events import shown_body, shown_event, stored_event
from picloud.errors import InvalidInputError

_HEAD = b'{"method":"POST"}'


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (None, None),
        (b"", None),
        (b'{"a": 1}', {"a": 1}),
        (b"7", 7),
        (b'"text"', "text"),
        (b"just text", "just text"),
        (b"\xff", {"base64": "/w=="}),
    ],
)
def test_a_body_is_shown_as_what_it_most_likely_is(body: bytes | None, shown: object) -> None:
    assert shown_body(body) == shown


@given(st.binary())
def test_an_event_that_was_not_changed_keeps_its_body_byte_for_byte(body: bytes) -> None:
    shown = msgspec.json.decode(msgspec.json.encode(shown_event("http", _HEAD, body or None)))
    assert stored_event("http", shown, body or None) == (_HEAD, body or None)


@pytest.mark.parametrize(
    ("before", "edited", "after"),
    [
        (b'{"a":1}', {"a": 2}, b'{"a":2}'),
        (b'"one"', "two", b'"two"'),
        (b"one", "two", b"two"),
        (b"one", {"a": 1}, b'{"a":1}'),
        (b"\xff", {"base64": "AAE="}, b"\x00\x01"),
        (b"one", None, None),
        (None, "text", b"text"),
        (None, [1], b"[1]"),
    ],
)
def test_an_edited_body_stays_what_it_was(before: bytes | None, edited: object, after: bytes | None) -> None:
    assert stored_event("http", {"method": "POST", "body": edited}, before) == (_HEAD, after)


def test_the_content_type_a_worker_goes_by_follows_the_header() -> None:
    stored = b'{"headers":{"content-type":"text/plain"},"content_type":"text/plain"}'
    shown = shown_event("http", stored, b"7")
    assert shown == {"headers": {"content-type": "text/plain"}, "body": 7}
    assert stored_event("http", shown, b"7") == (stored, b"7")
    shown["headers"] = {"Content-Type": "application/json"}
    assert json.loads(stored_event("http", shown, b"7")[0])["content_type"] == "application/json"


def test_base64_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="base64"):
        stored_event("http", {"body": {"base64": "%"}}, b"\xff")


def test_events_of_other_sources_have_no_body_beside_them() -> None:
    shown = shown_event("invoke", b'{"args": {"body": 1}}', None)
    assert json.loads(msgspec.json.encode(shown)) == {"args": {"body": 1}}
    assert stored_event("invoke", {"args": 2, "body": 3}, None) == (b'{"args":2,"body":3}', None)
