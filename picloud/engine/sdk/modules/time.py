"""Instants as integers: milliseconds since 1970-01-01 UTC. Subtract, compare and store them as they are.

Zones have the names of the IANA database, `Europe/Berlin`; without one it is UTC. Instants lie between the years 1 and
9999. There is no sleep: put work off with a queue's `delay_seconds`, or with `retry_after_seconds` when throwing.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from picloud.engine.sdk.context import RunContext
from picloud.engine.sdk.description import SdkModule
from picloud.engine.sdk.errors import ArgumentError
from picloud.engine.sdk.options import read_options

TIME = SdkModule("time", __doc__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

#: ``Wed, 01 Jul 2026 12:00:00 +0200``, as mail and HTTP write it (RFC 5322). Python's reader takes far more than that.
_MAIL_DATE = re.compile(r"(?:[A-Za-z]{3}, +)?\d{1,2} +[A-Za-z]{3} +\d{4} +\d{2}:\d{2}")

# English, whatever the machine's locale.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

#: What a pattern may hold. Not ``strftime``: its answers differ between systems and locales, and glibc takes widths
#: (``%999999999d``) that fill the memory.
_DIRECTIVES: Mapping[str, Callable[[datetime], str]] = {
    "Y": lambda at: f"{at.year:04}",
    "m": lambda at: f"{at.month:02}",
    "d": lambda at: f"{at.day:02}",
    "H": lambda at: f"{at.hour:02}",
    "I": lambda at: f"{(at.hour - 1) % 12 + 1:02}",
    "p": lambda at: "AM" if at.hour < 12 else "PM",
    "M": lambda at: f"{at.minute:02}",
    "S": lambda at: f"{at.second:02}",
    "L": lambda at: f"{at.microsecond // 1_000:03}",
    "a": lambda at: _DAYS[at.weekday()][:3],
    "A": lambda at: _DAYS[at.weekday()],
    "b": lambda at: _MONTHS[at.month - 1][:3],
    "B": lambda at: _MONTHS[at.month - 1],
    "j": lambda at: f"{at.timetuple().tm_yday:03}",
    "u": lambda at: str(at.isoweekday()),
    "V": lambda at: f"{at.isocalendar().week:02}",
    "G": lambda at: f"{at.isocalendar().year:04}",
    "z": lambda at: _offset(at).replace(":", ""),
    "Z": lambda at: at.tzname() or "",
    "%": lambda _: "%",
}


class TimeFormat(TypedDict, total=False):
    """How an instant is written.

    Attributes:
        pattern: text with `%Y %m %d %H %M %S`, `%L` milliseconds, `%I %p` twelve hours, `%a %A` weekday, `%b %B` month,
            `%j` day of the year, `%u` weekday from 1 = Monday, `%G %V` ISO year and week, `%z` offset, `%Z` zone, `%%`.
        zone: where the clock hangs.
    """

    pattern: str
    zone: str


class TimeSpan(TypedDict, total=False):
    """How far to go; negative numbers go back.

    Attributes:
        years: the same day of another year; 29 February becomes the 28th.
        months: the same day of another month, or its last one.
        weeks: seven days.
        days: the same time of another day, whatever the clocks did in between.
        hours: 3,600 seconds, always.
        minutes: 60 seconds.
        seconds: 1,000 milliseconds.
        milliseconds: one each.
    """

    years: int
    months: int
    weeks: int
    days: int
    hours: int
    minutes: int
    seconds: int
    milliseconds: int


class TimeParts(TypedDict):
    """An instant as a clock and a calendar show it.

    Attributes:
        weekday: 1 is Monday, 7 is Sunday.
        day_of_year: 1 is the first of January.
        offset_seconds: how far the clock is ahead of UTC.
    """

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    millisecond: int
    weekday: int
    day_of_year: int
    offset_seconds: int


@TIME.function
def now(run: RunContext) -> str:
    """This moment as text (RFC 3339), in UTC with milliseconds.

    Example:
        time::now()  // "2026-07-01T12:00:00.123Z" …
    """
    return _rfc3339(_at(unix_ms(run), "UTC"))


@TIME.function
def unix(run: RunContext) -> int:
    """Seconds since 1970.

    Example:
        time::unix() > 1_700_000_000  // true
    """
    return run.now_ns // 1_000_000_000


@TIME.function
def unix_ms(run: RunContext) -> int:
    """Milliseconds since 1970: this moment as the other functions take it.

    Example:
        time::unix_ms() / 1000 - time::unix() < 2  // true
    """
    return run.now_ns // 1_000_000


@TIME.function
def parse(text: str, zone: str | None = None) -> int:
    """The instant a text tells: ISO 8601 or RFC 3339, or a date as mail and HTTP write it.

    Args:
        zone: what a text without an offset is meant in; one with an offset has the last word.

    Throws:
        invalid_input: it is no date, or has no offset while no zone was named, or there is no such zone.

    Example:
        time::parse("2026-07-01T12:00:00+02:00");  // 1782900000000
        time::parse("2026-07-01 12:00", "Europe/Berlin");  // 1782900000000
        time::parse("Wed, 01 Jul 2026 10:00:00 GMT")  // 1782900000000
    """
    at = _read(text.strip())
    if at.tzinfo is None:
        if zone is None:
            raise ArgumentError(f"{text!r} does not say how far it is from UTC: name a zone as the second argument")
        at = at.replace(tzinfo=_zone(zone))
    return (at - _EPOCH) // _MILLISECOND


@TIME.function(name="format")
def format_time(unix_ms: int, options: TimeFormat | None = None) -> str:
    """An instant as text: RFC 3339 with milliseconds, or after a pattern.

    Throws:
        invalid_input: a directive or an option is unknown, or there is no such zone.

    Example:
        time::format(1782900000000);  // "2026-07-01T10:00:00.000Z"
        time::format(1782900000000, #{ zone: "Europe/Berlin" });  // "2026-07-01T12:00:00.000+02:00"
        time::format(1782900000000, #{ pattern: "%A, %d.%m.%Y" })  // "Wednesday, 01.07.2026"
    """
    read = read_options(options or {}, TimeFormat)
    at = _at(unix_ms, read.get("zone", "UTC"))
    pattern = read.get("pattern")
    return _rfc3339(at) if pattern is None else re.sub(r"%(.?)", lambda found: _directive(found[1], at), pattern)


@TIME.function
def parts(unix_ms: int, zone: str = "UTC") -> TimeParts:
    """An instant taken apart.

    Throws:
        invalid_input: there is no such zone.

    Example:
        time::parts(1782900000000, "Europe/Berlin").hour  // 12
    """
    at = _at(unix_ms, zone)
    return {
        "year": at.year,
        "month": at.month,
        "day": at.day,
        "hour": at.hour,
        "minute": at.minute,
        "second": at.second,
        "millisecond": at.microsecond // 1_000,
        "weekday": at.isoweekday(),
        "day_of_year": at.timetuple().tm_yday,
        "offset_seconds": _offset_seconds(at),
    }


@TIME.function
def add(unix_ms: int, span: TimeSpan, zone: str = "UTC") -> int:
    """An instant moved: years to days by the calendar of a zone, then the rest.

    02:30 on a night whose clocks skip it is 03:30.

    Throws:
        invalid_input: a part of the span is unknown or no integer, or there is no such zone.

    Example:
        let end_of_january = time::parse("2026-01-31T00:00:00Z");
        time::format(time::add(end_of_january, #{ months: 1 }));  // "2026-02-28T00:00:00.000Z"
        time::add(0, #{ days: 1, hours: -1 })  // 82800000
    """
    read = read_options(span, TimeSpan)
    at = _at(unix_ms, zone)
    try:
        # Only where there is something to add: moved on the calendar, the second 02:30 of an autumn night is the first.
        if months := read.get("years", 0) * 12 + read.get("months", 0):
            at = _plus_months(at, months)
        if days := timedelta(days=read.get("days", 0), weeks=read.get("weeks", 0)):
            at += days
        clock = timedelta(
            hours=read.get("hours", 0),
            minutes=read.get("minutes", 0),
            seconds=read.get("seconds", 0),
            milliseconds=read.get("milliseconds", 0),
        )
        moved = (at - _EPOCH + clock) // _MILLISECOND
    except (OverflowError, ValueError):
        raise _beyond() from None
    _at(moved, "UTC")
    return moved


def _read(text: str) -> datetime:
    try:
        return parsedate_to_datetime(text) if _MAIL_DATE.match(text) else datetime.fromisoformat(text)
    except (ValueError, TypeError, OverflowError):
        raise ArgumentError(f"{text[:80]!r} is no date; one looks like 2026-07-01T12:00:00Z") from None


def _at(unix_ms: int, zone: str) -> datetime:
    """The instant on a zone's clock."""
    place = _zone(zone)
    try:
        return (_EPOCH + unix_ms * _MILLISECOND).astimezone(place)
    except (OverflowError, ValueError):
        raise _beyond() from None


def _beyond() -> ArgumentError:
    return ArgumentError("an instant between the years 1 and 9999 is expected, in milliseconds since 1970")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # Names are files: one that is too long, a folder or outside of the database fails in ways of its own.
        raise ArgumentError(f"there is no zone {name[:80]!r}; one looks like Europe/Berlin") from None


def _plus_months(at: datetime, months: int) -> datetime:
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise _beyond()
    return at.replace(year=year, month=month + 1, day=min(at.day, calendar.monthrange(year, month + 1)[1]), fold=0)


def _rfc3339(at: datetime) -> str:
    text = at.isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z" if at.tzname() == "UTC" else text


def _offset_seconds(at: datetime) -> int:
    return int((at.utcoffset() or timedelta()).total_seconds())


def _offset(at: datetime) -> str:
    return at.isoformat(timespec="seconds")[19:]


def _directive(letter: str, at: datetime) -> str:
    if letter not in _DIRECTIVES:
        known = " ".join(f"%{each}" for each in _DIRECTIVES)
        raise ArgumentError(f"there is no %{letter}; there are {known}")
    return _DIRECTIVES[letter](at)
