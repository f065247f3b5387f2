"""What is due: nothing twice, nothing lost, and what ``missed`` makes of a pause."""

from __future__ import annotations

import datetime as dt
import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picloud.triggers import GRACE, MAX_CATCH_UP, MISSED, Due, Missed, Schedule, due, next_times, parse_schedule

SECOND = dt.timedelta(seconds=1)
HOURLY = parse_schedule("0 * * * *")


def at(text: str) -> dt.datetime:
    """A time of 2026-01-02, or a whole instant."""
    return dt.datetime.fromisoformat(text if "-" in text else f"2026-01-02T{text}").replace(tzinfo=dt.UTC)


def ats(*texts: str) -> tuple[dt.datetime, ...]:
    return tuple(map(at, texts))


@pytest.mark.parametrize("missed", MISSED)
def test_before_its_time_nothing_is_due(missed: Missed) -> None:
    assert due(HOURLY, next_at=at("10:00"), now=at("09:59:59.999999"), missed=missed) == Due((), at("10:00"))


@pytest.mark.parametrize("missed", MISSED)
@pytest.mark.parametrize("now", ["10:00", "10:00:01", "10:00:30"])
def test_a_tick_within_the_grace_fires_whatever_missed_says(missed: Missed, now: str) -> None:
    assert due(HOURLY, next_at=at("10:00"), now=at(now), missed=missed) == Due(ats("10:00"), at("11:00"))


@pytest.mark.parametrize(
    ("missed", "now", "expected"),
    [
        ("skip", "10:00:31", Due((), at("11:00"), at("10:00"))),
        ("skip", "13:00:10", Due(ats("13:00"), at("14:00"), at("10:00"))),
        ("skip", "13:20", Due((), at("14:00"), at("10:00"))),
        ("once", "10:00:31", Due(ats("10:00"), at("11:00"))),
        ("once", "13:00:10", Due(ats("13:00"), at("14:00"), at("10:00"))),
        ("once", "13:20", Due(ats("13:00"), at("14:00"), at("10:00"))),
        ("all", "10:00:31", Due(ats("10:00"), at("11:00"))),
        ("all", "13:20", Due(ats("10:00", "11:00", "12:00", "13:00"), at("14:00"))),
    ],
)
def test_after_a_pause_missed_decides(missed: Missed, now: str, expected: Due) -> None:
    assert due(HOURLY, next_at=at("10:00"), now=at(now), missed=missed) == expected


def test_a_pause_longer_than_what_is_caught_up_fires_the_latest() -> None:
    found = due(HOURLY, next_at=at("2020-01-01T00:00"), now=at("10:30"), missed="all")
    assert len(found.times) == MAX_CATCH_UP
    assert found.times[-1] == at("10:00")
    assert {later - earlier for earlier, later in zip(found.times, found.times[1:], strict=False)} == {3600 * SECOND}
    assert (found.next_at, found.passed_over_from) == (at("11:00"), at("2020-01-01T00:00"))


@pytest.mark.parametrize("missed", MISSED)
def test_a_year_without_its_clock_is_not_walked_second_by_second(missed: Missed) -> None:
    every_second = parse_schedule("* * * * * *", "Europe/Berlin")
    found = due(every_second, next_at=at("2025-01-02T10:00"), now=at("10:00:00.5"), missed=missed)
    count = {"skip": 30, "once": 1, "all": MAX_CATCH_UP}[missed]
    assert found.times == tuple(at("10:00") - SECOND * back for back in reversed(range(count)))
    assert found.next_at == at("10:00:01")


@pytest.mark.parametrize("missed", MISSED)
def test_a_time_the_schedule_does_not_name_is_only_where_to_look_from(missed: Missed) -> None:
    assert due(HOURLY, next_at=at("09:30"), now=at("09:45"), missed=missed) == Due((), at("10:00"))
    assert due(HOURLY, next_at=at("09:30"), now=at("10:00"), missed=missed) == Due(ats("10:00"), at("11:00"))


@pytest.mark.parametrize("missed", MISSED)
def test_a_clock_that_was_set_back_fires_nothing_twice(missed: Missed) -> None:
    fired = due(HOURLY, next_at=at("10:00"), now=at("10:00"), missed=missed)
    assert due(HOURLY, next_at=fired.next_at, now=at("09:59"), missed=missed).times == ()
    assert due(HOURLY, next_at=fired.next_at, now=at("10:00"), missed=missed).times == ()


def test_times_of_any_zone_are_taken_and_those_of_utc_given() -> None:
    plus_two = dt.timezone(dt.timedelta(hours=2))
    found = due(HOURLY, next_at=at("10:00").astimezone(plus_two), now=at("10:00").astimezone(plus_two), missed="skip")
    assert found == Due(ats("10:00"), at("11:00"))
    assert {each.tzinfo for each in (*found.times, found.next_at)} == {dt.UTC}


@pytest.mark.parametrize("naive", ["next_at", "now"])
def test_a_time_without_a_zone_is_refused(naive: str) -> None:
    times = {"next_at": at("10:00"), "now": at("10:00")}
    times[naive] = times[naive].replace(tzinfo=None)
    with pytest.raises(ValueError, match="without a zone"):
        due(HOURLY, next_at=times["next_at"], now=times["now"], missed="once")


SCHEDULES = [
    Schedule(expression, zone)
    for expression in ("30 2 * * *", "*/30 2 * * *", "0 */6 * * *", "15 3 L * *", "0 30 1 * * SUN", "0 0,2,3 * * 6-7")
    for zone in ("Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata")
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_through_a_year_each_time_fires_once_however_often_is_asked(schedule: Schedule) -> None:
    start, end = at("2026-01-01T00:00"), at("2027-01-01T00:00")
    year = [tick for tick in next_times(schedule, start, 3_000) if tick <= end]
    assert len(set(year)) == len(year) >= 12
    assert year == sorted(year)
    for seed in range(3):
        chance = random.Random(seed)
        fired: list[dt.datetime] = []
        now, next_at = start, schedule.next_after(start)
        while now < end:
            longest = dt.timedelta(minutes=10) if chance.random() < 0.3 else dt.timedelta(days=20)
            now = min(end, now + longest * chance.random())
            found = due(schedule, next_at=next_at, now=now, missed="all")
            assert found.next_at > now
            assert found.passed_over_from is None
            fired += found.times
            next_at = found.next_at
        assert fired == year


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(["* * * * * *", "*/7 * * * * *", "* * * * *", "30 2 * * *"]),
    st.sampled_from(MISSED),
    st.lists(st.integers(0, 30_000_000), min_size=200, max_size=400),
)
def test_asked_within_every_grace_each_time_fires_once_whatever_missed_says(
    expression: str, missed: Missed, pauses_us: list[int]
) -> None:
    schedule = parse_schedule(expression, "Europe/Berlin")
    now = start = at("2026-10-25T00:28:30")
    next_at = schedule.next_after(start)
    fired: list[dt.datetime] = []
    for pause_us in pauses_us:
        now += dt.timedelta(microseconds=pause_us)
        found = due(schedule, next_at=next_at, now=now, missed=missed)
        assert found.passed_over_from is None
        fired += found.times
        next_at = found.next_at
    assert fired == [tick for tick in next_times(schedule, start, len(fired) + 1) if tick <= now]


@functools.cache
def ticks_of(schedule: Schedule) -> list[dt.datetime]:
    return next_times(schedule, at("2026-10-25T00:00"), 500)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["*/10 * * * * *", "* * * * *", "*/30 2 * * *", "30 2 * * *"]),
    st.sampled_from(MISSED),
    st.integers(0, 50),
    st.integers(0, 4_000),
)
def test_what_is_due_is_what_its_description_says(
    expression: str, missed: Missed, skipped: int, paused_seconds: int
) -> None:
    schedule = parse_schedule(expression, "Europe/Berlin")
    coming = ticks_of(schedule)[skipped:]
    next_at, now = coming[0], coming[0] + paused_seconds * SECOND
    ticks = [tick for tick in coming if tick <= now]
    on_time = [tick for tick in ticks if now - tick <= GRACE]
    expected = {
        "skip": on_time,
        "once": ticks if ticks == on_time else ticks[-1:],
        "all": ticks[-MAX_CATCH_UP:],
    }[missed]
    found = due(schedule, next_at=next_at, now=now, missed=missed)
    assert found.times == tuple(expected)
    assert found.next_at == coming[len(ticks)]
    assert found.passed_over_from == (None if ticks[0] in expected else ticks[0])
