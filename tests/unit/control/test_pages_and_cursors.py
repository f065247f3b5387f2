"""Cursors: what comes back is what was given out; anything else is refused."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.control.logs import Cursor
from picloud.control.pages import id_cursor, int_cursor, page_of
from picloud.control.records import stored_json
from picloud.errors import InvalidInputError


def test_a_page_is_full_and_names_its_last_item_only_when_there_is_more() -> None:
    assert page_of([1, 2, 3], 2, lambda item: item * 10) == page_of([1, 2, 4], 2, lambda item: item * 10)
    assert page_of([1, 2, 3], 2, lambda item: item * 10).next == "20"
    assert page_of([1, 2], 2, lambda item: item).next is None
    assert page_of([], 2, str).items == []


@given(
    st.integers(0, 2**32).map(lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC)),
    st.uuids(),
    st.integers(0, 1000),
)
def test_a_cursor_of_logs_comes_back_as_it_was(written_at: dt.datetime, execution_id: uuid.UUID, attempt: int) -> None:
    cursor = Cursor(written_at, execution_id, attempt)
    assert Cursor.decode(cursor.encode()) == cursor


@given(st.text(max_size=60))
def test_whatever_is_passed_as_a_cursor_is_read_or_refused(text: str) -> None:
    for read in (int_cursor, id_cursor, Cursor.decode):
        with contextlib.suppress(InvalidInputError):
            read(text)


def test_a_cursor_without_its_time_zone_is_refused() -> None:
    naive = base64.urlsafe_b64encode(msgspec.msgpack.encode(["2026-01-01T00:00:00"])).decode()
    with pytest.raises(InvalidInputError):
        Cursor.decode(naive)


def test_stored_json_is_passed_on_as_it_was_written() -> None:
    assert msgspec.json.encode(stored_json(b'{"b": 1.0, "a": 2}')) == b'{"b": 1.0, "a": 2}'
    assert stored_json(b"{broken") == "{broken"
    assert stored_json(b"\xff") == "�"
    assert stored_json(None) is None
