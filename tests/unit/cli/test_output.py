"""Tables, ages, and text that may not take over a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picloud.cli.output import Column, table
from picloud.cli.text import age, duration, error_text, local_clock, one_line, printable, until

COLUMNS = (
    Column("ID", "id"),
    Column("N", "n", is_number=True, is_optional=True),
    Column("EXTRA", "extra", is_optional=True),
    Column("ERROR", "error", may_shrink=True),
)
ROWS = [
    {"id": "a" * 10, "n": 1, "extra": "x" * 10, "error": "e" * 30},
    {"id": "b", "n": 22, "extra": None, "error": ""},
]


def plain(width: int | None) -> list[str]:
    return click.unstyle(table(ROWS, COLUMNS, width)).splitlines()


def test_without_a_width_everything_is_shown() -> None:
    assert plain(None) == [
        "ID           N  EXTRA       ERROR",
        "aaaaaaaaaa   1  xxxxxxxxxx  eeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
        "b           22",
    ]


def test_what_may_shrink_gives_way_first() -> None:
    assert plain(48)[1] == "aaaaaaaaaa   1  xxxxxxxxxx  eeeeeeeeeeeeeeeeeee…"


def test_then_what_is_optional_is_left_out_the_last_first() -> None:
    assert plain(36)[1] == "aaaaaaaaaa   1  eeeeeeeeeeeeeeeeeee…"
    assert plain(24)[1] == "aaaaaaaaaa  eeeeeeeeeee…"


def test_what_must_stay_is_never_cut() -> None:
    assert plain(5)[1].startswith("aaaaaaaaaa  ")


def test_a_status_has_its_color_and_other_words_have_none() -> None:
    drawn = table([{"id": "dead"}, {"id": "deadly"}], (Column("S", "id"),)).splitlines()
    assert drawn[1] == "\x1b[31mdead  \x1b[0m"
    assert drawn[2] == "deadly"


@given(st.text())
def test_no_text_can_take_over_a_terminal(text: str) -> None:
    shown = printable(text)
    assert all(char in "\n\t" or char.isprintable() for char in shown)
    assert "\n" not in one_line(text)
    assert len(one_line(text, 20)) <= 20


@given(st.text().filter(str.isprintable))
def test_text_that_is_harmless_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (12, "12 s"),
        (119, "119 s"),
        (180, "3 min"),
        (7_200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_a_duration_is_short_enough_to_be_read(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_ages_are_measured_from_a_given_now() -> None:
    now = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
    assert age("2030-01-31T11:59:48Z", now) == "12 s"
    assert until("2030-01-31T12:03:00Z", now) == "3 min"
    assert age(None, now) == ""


def test_an_instant_is_shown_to_the_millisecond() -> None:
    assert local_clock("2030-01-31T12:00:00.123456Z").endswith(":00.123")
    assert local_clock(None) == ""


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (None, ""),
        ("text", "text"),
        ({"code": "x"}, "x"),
        ({"code": "x", "message": "m"}, "m"),
        ({"message": "m", "line": 4, "column": 2}, "hello:4:2: m"),
        ({"message": "m", "line": 4}, "hello:4: m"),
        ({}, "{}"),
    ],
)
def test_an_error_is_one_phrase_with_its_place(error: object, shown: str) -> None:
    assert error_text(error, "hello") == shown
