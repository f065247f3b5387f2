"""time: instants, zones, and nights on which clocks jump."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.sdk.scripts import value

FIRST = -62_135_596_800_000
LAST = 253_402_300_799_999


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def test_now_is_now_in_three_forms() -> None:
    before = time.time_ns() // 1_000_000
    text, seconds, milliseconds = value("[time::now(), time::unix(), time::unix_ms()]")
    after = time.time_ns() // 1_000_000
    assert before <= ms(text) <= after
    assert before // 1_000 <= seconds <= after // 1_000
    assert before <= milliseconds <= after
    assert len(text) == len("2026-07-01T12:00:00.123Z")
    assert text.endswith("Z")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('"2026-07-01T10:00:00Z"', "2026-07-01T10:00:00+00:00"),
        ('"2026-07-01T12:00:00.1239+02:00"', "2026-07-01T10:00:00.123+00:00"),
        ('" 2026-07-01 10:00Z "', "2026-07-01T10:00:00+00:00"),
        ('"2026-07-01", "UTC"', "2026-07-01T00:00:00+00:00"),
        ('"2026-07-01T12:00", "Europe/Berlin"', "2026-07-01T10:00:00+00:00"),
        ('"2026-01-01T12:00", "Europe/Berlin"', "2026-01-01T11:00:00+00:00"),
        ('"2026-07-01T12:00Z", "Asia/Tokyo"', "2026-07-01T12:00:00+00:00"),
        ('"Wed, 01 Jul 2026 12:00:00 +0200"', "2026-07-01T10:00:00+00:00"),
        ('"1 Jul 2026 10:00:00 GMT"', "2026-07-01T10:00:00+00:00"),
        ('"1969-12-31T23:59:59.999Z"', "1969-12-31T23:59:59.999+00:00"),
    ],
)
def test_a_text_is_read(arguments: str, expected: str) -> None:
    assert value(f"time::parse({arguments})") == ms(expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("0", "1970-01-01T00:00:00.000Z"),
        ("-1", "1969-12-31T23:59:59.999Z"),
        (str(FIRST), "0001-01-01T00:00:00.000Z"),
        (str(LAST), "9999-12-31T23:59:59.999Z"),
        ('0, #{ zone: "America/New_York" }', "1969-12-31T19:00:00.000-05:00"),
        ('0, #{ zone: "Europe/London" }', "1970-01-01T01:00:00.000+01:00"),
        ("0, #{}", "1970-01-01T00:00:00.000Z"),
        ("0, ()", "1970-01-01T00:00:00.000Z"),
        ('0, #{ pattern: "" }', ""),
        ('0, #{ pattern: "%Y-%m-%d %H:%M:%S.%L %z" }', "1970-01-01 00:00:00.000 +0000"),
        ('0, #{ pattern: "%a %A %b %B %j %u %G-W%V" }', "Thu Thursday Jan January 001 4 1970-W01"),
        ('0, #{ pattern: "%I %p", zone: "Asia/Tokyo" }', "09 AM"),
        ('43200000, #{ pattern: "%I %p" }', "12 PM"),
        ('0, #{ pattern: "%Z %z", zone: "Asia/Kolkata" }', "IST +0530"),
        ('0, #{ pattern: "100%% grüß" }', "100% grüß"),
    ],
)
def test_an_instant_is_written(arguments: str, expected: str) -> None:
    assert value(f"time::format({arguments})") == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(FIRST + 86_400_000, LAST - 86_400_000), st.sampled_from(["UTC", "Asia/Kolkata", "America/Caracas"]))
def test_what_is_written_is_read_as_the_same(instant: int, zone: str) -> None:
    assert value(f'time::parse(time::format({instant}, #{{ zone: "{zone}" }}))') == instant


def test_the_parts_of_an_instant() -> None:
    expected = {
        "year": 2024,
        "month": 12,
        "day": 31,
        "hour": 23,
        "minute": 30,
        "second": 5,
        "millisecond": 7,
        "weekday": 2,
        "day_of_year": 366,
        "offset_seconds": 3600,
    }
    instant = ms("2024-12-31T22:30:05.007+00:00")
    assert value(f'time::parts({instant}, "Europe/Berlin")') == expected
    assert value(f"time::parts({instant}).hour") == 22


@pytest.mark.parametrize(
    ("start", "span", "zone", "expected"),
    [
        ("2026-01-31T12:00:00Z", "#{ months: 1 }", "UTC", "2026-02-28T12:00:00Z"),
        ("2024-02-29T00:00:00Z", "#{ years: 1 }", "UTC", "2025-02-28T00:00:00Z"),
        ("2026-03-31T00:00:00Z", "#{ months: -13 }", "UTC", "2025-02-28T00:00:00Z"),
        ("2026-01-01T00:00:00Z", "#{ weeks: 1, days: -1, hours: 2, seconds: 4 }", "UTC", "2026-01-07T02:00:04Z"),
        ("2026-01-01T00:00:00Z", "#{ minutes: -1, milliseconds: 60000 }", "UTC", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00Z", "#{}", "UTC", "2026-01-01T00:00:00Z"),
        # The clocks of Berlin go forward on 29 March 2026 at 02:00, and back on 25 October at 03:00.
        ("2026-03-28T12:00:00+01:00", "#{ days: 1 }", "Europe/Berlin", "2026-03-29T12:00:00+02:00"),
        ("2026-03-28T12:00:00+01:00", "#{ hours: 24 }", "Europe/Berlin", "2026-03-29T13:00:00+02:00"),
        ("2026-03-28T02:30:00+01:00", "#{ days: 1 }", "Europe/Berlin", "2026-03-29T03:30:00+02:00"),
        ("2026-10-24T02:30:00+02:00", "#{ days: 1 }", "Europe/Berlin", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T02:30:00+01:00", "#{ hours: 1 }", "Europe/Berlin", "2026-10-25T03:30:00+01:00"),
        ("2026-10-25T02:30:00+02:00", "#{ hours: 1 }", "Europe/Berlin", "2026-10-25T02:30:00+01:00"),
        ("2026-10-25T02:30:00+01:00", "#{}", "Europe/Berlin", "2026-10-25T02:30:00+01:00"),
    ],
)  # fmt: skip
def test_days_follow_the_calendar_and_hours_the_clock(start: str, span: str, zone: str, expected: str) -> None:
    assert value(f'time::add({ms(start)}, {span}, "{zone}")') == ms(expected)


def test_without_a_zone_it_is_utc() -> None:
    assert value("time::add(0, #{ days: 1 })") == 86_400_000


@pytest.mark.parametrize("call", ["time::sleep(1)", "sleep(1)"])
def test_nothing_sleeps(call: str) -> None:
    started = time.monotonic()
    said: Any = value(f"try {{ {call}; }} catch (e) {{ return e.message; }}")
    assert "sleep" in said
    assert time.monotonic() - started < 0.5
