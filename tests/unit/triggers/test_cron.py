"""Schedules: what they say, and when they fire where the clock is changed."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import zoneinfo

import pytest
from cronsim import CronSim
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from picloud.errors import InvalidInputError
from picloud.triggers import Schedule, next_times, parse_schedule, wrong_schedule, wrong_timezone

SECOND = dt.timedelta(seconds=1)
MINUTE = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def wall(instant: dt.datetime, zone: str) -> dt.datetime:
    return instant.astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None)


def shown(times: list[dt.datetime]) -> list[str]:
    return [f"{each:%d %H:%M:%S}".removesuffix(":00") for each in times]


# What an expression may say


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("*/20 * * * *", ["01 00:20", "01 00:40", "01 01:00"]),
        ("*/20 * * * * *", ["01 00:00:20", "01 00:00:40", "01 00:01"]),
        ("30 5 4 * * *", ["01 04:05:30", "02 04:05:30", "03 04:05:30"]),
        ("0 12 * * MON", ["05 12:00", "12 12:00", "19 12:00"]),
        ("0 12 * * mon#1", ["05 12:00", "02 12:00", "02 12:00"]),
        ("0 0 L * *", ["31 00:00", "28 00:00", "31 00:00"]),
        ("0 0 LW * *", ["30 00:00", "27 00:00", "31 00:00"]),
        ("0 0 29 FEB *", ["29 00:00", "29 00:00", "29 00:00"]),
        (" 0\t8-9  1,15 * * ", ["01 08:00", "01 09:00", "15 08:00"]),
    ],
)
def test_five_or_six_fields_name_instants(expression: str, times: list[str]) -> None:
    assert shown(next_times(parse_schedule(expression), utc("2026-01-01"), 3)) == times


def test_a_schedule_is_kept_with_one_space_between_its_fields() -> None:
    assert parse_schedule(" 0\t8  * * 1 ", "Asia/Kolkata") == Schedule("0 8 * * 1", "Asia/Kolkata")


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "'' has 0 fields: expected five (minute hour day-of-month month day-of-week), as in '*/5 * * * *'"),
        ("@daily", "'@daily' has 1 field: expected five"),
        ("* * * * * * *", "'* * * * * * *' has 7 fields: expected five"),
        ("60 * * * *", "'60' is no minute: expected 0-59, *, a list (1,3), a rising range (1-3) or a step (*/2)"),
        ("60 * * * * *", "'60' is no second: expected 0-59, *"),
        ("* 24 * * *", "'24' is no hour: expected 0-23, *"),
        ("* * 0 * *", "'0' is no day of the month: expected 1-31, L or LW, *"),
        ("* * * 13 *", "'13' is no month: expected 1-12 or JAN-DEC, *"),
        ("* * * * 8", "'8' is no day of the week: expected 0-7 (0 and 7 are Sunday), SUN-SAT, 5L or 1#2, *"),
        ("* * * * FUN", "'FUN' is no day of the week: expected"),
        ("*/0 * * * *", "'*/0' is no minute: expected"),
        ("5-1 * * * *", "'5-1' is no minute: expected"),
        ("1, * * * *", "'1,' is no minute: expected"),
        ("\u0663 * * * *", "'\u0663' is no minute: expected"),
        ("0 0 30 2 *", "'0 0 30 2 *' never fires: there is no such day"),
        ("0 0 31 2,4,6,9,11 *", "'0 0 31 2,4,6,9,11 *' never fires: there is no such day"),
        ("0 0 LW * */6", "'0 0 LW * */6' never fires: there is no such day"),
        ("0," * 100 + "0 * * * *", "a schedule has at most 200 characters"),
    ],
)
def test_a_wrong_expression_is_told_which_field_and_what_it_may_say(expression: str, problem: str) -> None:
    assert (wrong_schedule(expression) or "").startswith(problem)
    with pytest.raises(InvalidInputError, match=re.escape(problem)):
        parse_schedule(expression)


@given(st.text(alphabet="0123456789*/,-#LW MON\n\x00é", max_size=40))
def test_no_expression_is_a_crash(expression: str) -> None:
    if wrong_schedule(expression) is None:
        assert len(next_times(parse_schedule(expression), utc("2026-01-01"), 2)) == 2


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5", "EST5EDT"])
def test_iana_names_are_zones(zone: str) -> None:
    assert wrong_timezone(zone) is None


@pytest.mark.parametrize(
    "zone",
    ["", "Berlin", "europe/berlin", "Europe", "Europe/", "/etc/localtime", "../UTC", "a/../UTC", "+01:00", "UTC ",
     "localtime", "Factory", "posixrules", "right/UTC", "posix/UTC", "zone.tab", "tzdata.zi", "leapseconds", "a" * 999],
)  # fmt: skip
def test_what_is_no_zone_or_not_the_same_on_every_machine_is_refused(zone: str) -> None:
    problem = f"{zone!r} is not a time zone: expected an IANA name, as in Europe/Berlin or UTC"
    assert (wrong_timezone(zone) or "").startswith(problem)
    with pytest.raises(InvalidInputError, match="is not a time zone"):
        parse_schedule("* * * * *", zone)


def test_a_misspelt_zone_is_told_what_may_be_meant() -> None:
    assert (wrong_timezone("Europe/Berln") or "").endswith("(did you mean Europe/Berlin?)")


def test_a_schedule_that_names_only_an_hour_its_zone_skips_is_refused() -> None:
    last_sunday_of_march = "0 0 2 * 3 7L"
    assert parse_schedule(last_sunday_of_march, "UTC").timezone == "UTC"
    with pytest.raises(InvalidInputError, match="never fires in Europe/Berlin"):
        parse_schedule(last_sunday_of_march, "Europe/Berlin")


def test_an_instant_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        next_times(parse_schedule("* * * * *"), dt.datetime(2026, 1, 1), 1)  # noqa: DTZ001


def test_instants_of_any_zone_are_taken_and_those_of_utc_given() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    (found,) = next_times(parse_schedule("0 0 * * *", "Asia/Kolkata"), dt.datetime(2026, 7, 1, tzinfo=berlin), 1)
    assert (found, found.tzinfo) == (utc("2026-07-01T18:30"), dt.UTC)


# Where the clock is changed

AUTUMN = "2026-10-24T22:30"  # in Berlin 00:30; at 03:00, 01:00 UTC, it goes back to 02:00
SPRING = "2026-03-28T23:00"  # in Berlin 00:00; at 02:00, 01:00 UTC, it goes forward to 03:00


@pytest.mark.parametrize(
    ("expression", "since", "times"),
    [
        # At set times: once in the repeated hour, at the end of the skipped one.
        ("30 2 * * *", AUTUMN, ["25 00:30", "26 01:30", "27 01:30"]),
        ("0,30 2 * * *", AUTUMN, ["25 00:00", "25 00:30", "26 01:00"]),
        ("30 1,2,3 * * *", AUTUMN, ["24 23:30", "25 00:30", "25 02:30"]),
        ("30 2 * * *", SPRING, ["29 01:00", "30 00:30", "31 00:30"]),
        ("0,15,30 2 * * *", SPRING, ["29 01:00", "30 00:00", "30 00:15"]),
        ("0 2,3 * * *", SPRING, ["29 01:00", "30 00:00", "30 01:00"]),
        ("30 1,2,3 * * *", SPRING, ["29 00:30", "29 01:00", "29 01:30"]),
        # By the clock: twice in the repeated hour, not in the skipped one.
        ("*/30 * * * *", AUTUMN, ["24 23:00", "24 23:30", "25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00"]),
        ("30 * * * *", AUTUMN, ["24 23:30", "25 00:30", "25 01:30", "25 02:30"]),
        ("*/30 2 * * *", AUTUMN, ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "26 01:00"]),
        ("0 */2 * * *", AUTUMN, ["25 00:00", "25 01:00", "25 03:00"]),
        ("*/30 * * * *", SPRING, ["28 23:30", "29 00:00", "29 00:30", "29 01:00", "29 01:30"]),
        ("*/30 2 * * *", SPRING, ["30 00:00", "30 00:30"]),
        # Six fields go by the clock always.
        ("0 30 2 * * *", AUTUMN, ["25 00:30", "25 01:30", "26 01:30"]),
        ("0 30 2 * * *", SPRING, ["30 00:30", "31 00:30"]),
    ],
)
def test_the_change_of_the_clock_in_berlin(expression: str, since: str, times: list[str]) -> None:
    schedule = parse_schedule(expression, "Europe/Berlin")
    assert shown(next_times(schedule, utc(since), len(times))) == times


@pytest.mark.parametrize("now", ["2026-10-25T00:30", "2026-10-25T00:45", "2026-10-25T01:15", "2026-10-25T01:30"])
def test_what_fired_in_the_repeated_hour_is_not_found_again_from_within_it(now: str) -> None:
    (found,) = next_times(parse_schedule("30 2 * * *", "Europe/Berlin"), utc(now), 1)
    assert found == utc("2026-10-26T01:30")


@pytest.mark.parametrize(
    ("expression", "zone", "since", "times"),
    [
        # At midnight the clock goes forward to 01:00 (Cairo, 2026-04-24).
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T00:00", ["23 22:00", "24 21:00"]),
        ("0 0 0 * * FRI", "Africa/Cairo", "2026-04-23T00:00", ["30 21:00"]),
        # At midnight it goes back to 23:00 (2026-10-30 there).
        ("30 23 * * *", "Africa/Cairo", "2026-10-29T00:00", ["29 20:30", "30 21:30"]),
        # By half an hour: forward at 02:00 on 2026-10-04, back at 02:00 on 2026-04-05.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["03 15:30", "04 15:15"]),
        ("0 */3 * * *", "Australia/Lord_Howe", "2026-10-03T15:00", ["03 16:00", "03 19:00"]),
        ("0 */3 * * *", "Australia/Lord_Howe", "2026-04-04T13:00", ["04 16:30", "04 19:30"]),
        # By two hours.
        ("30 1 * * *", "Antarctica/Troll", "2026-03-28T12:00", ["29 01:00", "29 23:30"]),
    ],
)
def test_the_change_of_clocks_that_change_differently(expression: str, zone: str, since: str, times: list[str]) -> None:
    assert shown(next_times(parse_schedule(expression, zone), utc(since), len(times))) == times


# Compared with what is plainly right

CHANGES = [
    ("Europe/Berlin", "2026-03-28T20:00"),
    ("Europe/Berlin", "2026-10-24T20:00"),
    ("America/New_York", "2026-03-08T00:00"),
    ("America/New_York", "2026-11-01T00:00"),
    ("Australia/Lord_Howe", "2026-04-04T10:00"),
    ("Australia/Lord_Howe", "2026-10-03T10:00"),
    ("Africa/Cairo", "2026-04-23T18:00"),
    ("Africa/Cairo", "2026-10-29T18:00"),
    ("America/Santiago", "2026-04-04T22:00"),
    ("America/Santiago", "2026-09-05T22:00"),
    ("Antarctica/Troll", "2026-03-28T20:00"),
    ("Antarctica/Troll", "2026-10-24T20:00"),
    ("Asia/Kolkata", "2026-06-01T00:00"),
]
CHANGES_BY_AN_HOUR_AT_NIGHT = [
    ("Europe/Berlin", "2026-03-29T00:30"),
    ("Europe/Berlin", "2026-10-24T23:30"),
    ("America/New_York", "2026-03-08T06:30"),
    ("America/New_York", "2026-11-01T04:30"),
    ("Australia/Sydney", "2026-04-04T14:30"),
    ("Australia/Sydney", "2026-10-03T15:30"),
    ("UTC", "2026-01-01T00:00"),
]
MINUTES = st.sampled_from(["*", "*/7", "*/30", "0", "15", "59", "0,30,45", "10-50/20"])
HOURS = st.sampled_from(["*", "*/3", "0", "1", "2", "3", "23", "0-3", "0,2,23"])
DAYS = st.sampled_from(["* * *", "* * SAT,SUN", "* * FRI", "1-15 * *"])
FIVE_FIELDS = st.builds("{} {} {}".format, MINUTES, HOURS, DAYS)


def has_set_times(expression: str) -> bool:
    minute, hour, *rest = expression.split()
    return len(rest) == 3 and minute[0] != "*" and hour[0] != "*"


def names_reading(expression: str, reading: dt.datetime) -> bool:
    return next(CronSim(expression, reading - SECOND)) == reading


@settings(max_examples=60, deadline=None)
@given(FIVE_FIELDS, st.sampled_from(CHANGES), st.integers(0, 16 * 60))
def test_by_the_clock_every_minute_fires_whose_reading_the_schedule_names(
    expression: str, change: tuple[str, str], offset_minutes: int
) -> None:
    zone, around = change
    expression = f"0 {expression}" if has_set_times(expression) else expression
    since = utc(around) + offset_minutes * MINUTE
    until = utc(around) + 16 * 60 * MINUTE
    minutes = int((until - since) / MINUTE)
    expected = [
        instant
        for instant in (since + count * MINUTE for count in range(1, minutes + 1))
        if names_reading(expression, wall(instant, zone))
    ]
    ticks = parse_schedule(expression, zone).ticks_after(since)
    assert list(itertools.takewhile(lambda tick: tick <= until, ticks)) == expected


@settings(max_examples=100, deadline=None)
@given(FIVE_FIELDS, st.sampled_from(CHANGES))
def test_set_times_fire_as_cronsim_has_them(expression: str, change: tuple[str, str]) -> None:
    assume(has_set_times(expression))
    zone, since = change
    theirs = CronSim(expression, utc(since).astimezone(zoneinfo.ZoneInfo(zone)))
    expected = [each.astimezone(dt.UTC) for each in itertools.islice(theirs, 20)]
    assert next_times(parse_schedule(expression, zone), utc(since), 20) == expected


@settings(max_examples=100, deadline=None)
@given(FIVE_FIELDS, st.sampled_from(CHANGES_BY_AN_HOUR_AT_NIGHT), st.booleans())
def test_where_an_hour_changes_at_night_all_fires_as_cronsim_has_it(
    expression: str, change: tuple[str, str], with_seconds: bool
) -> None:
    expression = f"0 {expression}" if with_seconds else expression
    zone, since = change
    theirs = CronSim(expression, utc(since).astimezone(zoneinfo.ZoneInfo(zone)))
    expected = [each.astimezone(dt.UTC) for each in itertools.islice(theirs, 80)]
    assert next_times(parse_schedule(expression, zone), utc(since), 80) == expected


@settings(max_examples=200, deadline=None)
@given(FIVE_FIELDS, st.booleans(), st.sampled_from(CHANGES), st.integers(0, 16 * 3600), st.integers(0, 999_999))
@example("30 2 * * *", False, ("Europe/Berlin", "2026-10-24T20:00"), 18_900, 1)
def test_the_next_instant_is_the_same_wherever_the_walk_began(
    expression: str, with_seconds: bool, change: tuple[str, str], offset_seconds: int, microseconds: int
) -> None:
    zone, around = change
    schedule = parse_schedule(f"0 {expression}" if with_seconds else expression, zone)
    now = utc(around) + dt.timedelta(seconds=offset_seconds, microseconds=microseconds)
    walked = schedule.ticks_after(utc(around) - 3 * DAY)
    assert schedule.next_after(now) == next(tick for tick in walked if tick > now)
