"""Cron schedules: which instants one names, and which of them are due.

A schedule has five fields (minute hour day month weekday), or six with seconds first.
cronsim knows what the fields mean; it is asked about readings of the wall clock only,
and here they become instants, by the rules cronsim itself follows (Debian's cron):

* **At set times**: five fields, minute and hour both without a leading ``*``. Each
  reading fires once: in an hour that is repeated the first time, in one that is
  skipped when the skipped hour ends. 02:30 in Berlin fires once on the day the clock
  goes back, and at 03:00 on the day it goes forward.
* **Everything else** (``*/30 * * * *``, every schedule with seconds) follows the clock:
  twice in a repeated hour, not in a skipped one.

cronsim is not given the zone because what it answers then depends on where it starts:
from the second pass of a repeated hour it goes back to the first, and where midnight
is skipped, or half an hour, it finds readings no clock shows. Here the next instant
depends on the instant asked about alone, so a schedule fires the same whoever asks
how often.

Instants are aware and in UTC, always on a whole second.
"""

from __future__ import annotations

import datetime as dt
import difflib
import itertools
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

from cronsim import CronSim, CronSimError

from picloud.errors import InvalidInputError

Missed = Literal["skip", "once", "all"]
MISSED: tuple[Missed, ...] = ("skip", "once", "all")

#: A tick no older than this is on time and fires whatever ``missed`` says; an older one was missed.
GRACE = dt.timedelta(seconds=30)

#: Ticks that fire at once, at most. A machine that was off for a month must not start with 40,000 runs.
MAX_CATCH_UP = 100

_MAX_CHARACTERS = 200
_SECOND = dt.timedelta(seconds=1)
_INSTANT = dt.timedelta(microseconds=1)
_DAY = dt.timedelta(days=1)

#: cronsim gives up after as many; the rarest dates, 29 February on a weekday, are 40 years apart.
_MAX_YEARS = 50
#: Where a new schedule is tried out. Any date would do: "never" means 50 years without a tick.
_TRIED_FROM = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

#: What each field may say, in the order of six fields.
_FIELDS = (
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31, L or LW"),
    ("month", "1-12 or JAN-DEC"),
    ("day of the week", "0-7 (0 and 7 are Sunday), SUN-SAT, 5L or 1#2"),
)

#: What a zone is called. ``posix/…`` and ``right/…`` (with leap seconds, so half a minute off) are other databases.
_ZONE = re.compile(r"(?!posix/|right/)[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2}")
#: Listed among the zones, and what they mean differs from machine to machine.
_NOT_ZONES = frozenset({"localtime", "posixrules", "Factory"})


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that was checked; ``parse_schedule`` makes one.

    Attributes:
        expression: five or six fields with one space between.
        timezone: an IANA name.
    """

    expression: str
    timezone: str

    def next_after(self, instant: dt.datetime) -> dt.datetime:
        """The first instant of the schedule after ``instant`` (aware).

        Raises:
            InvalidInputError: there is none within fifty years.
        """
        found = next(self.ticks_after(instant), None)
        if found is None:
            raise InvalidInputError(f"{self.expression!r} never fires in {self.timezone}")
        return found

    def ticks_after(self, instant: dt.datetime) -> Iterator[dt.datetime]:
        """Every instant of the schedule after ``instant`` (aware), ascending; it ends where fifty years have none."""
        after = _utc(instant).replace(microsecond=0)
        clock = _Clock(zoneinfo.ZoneInfo(self.timezone))
        return self._at_set_times(clock, after) if self._has_set_times else self._by_the_clock(clock, after)

    @property
    def _has_set_times(self) -> bool:
        parts = self.expression.split()
        return len(parts) == 5 and not parts[0].startswith("*") and not parts[1].startswith("*")

    def _at_set_times(self, clock: _Clock, after: dt.datetime) -> Iterator[dt.datetime]:
        """Every reading, once: what would fire again, or at the end of a skipped hour together, has fired."""
        for reading in self._readings(clock.reading(after)):
            instant = clock.first_instant(reading)
            if instant > after:
                yield instant
                after = instant

    def _by_the_clock(self, clock: _Clock, after: dt.datetime) -> Iterator[dt.datetime]:
        """Every instant at which the clock shows a reading.

        Between two changes of its offset from UTC the clock runs evenly. So: the readings as if it always did, until
        there is a change before one; then on from the change, with the new offset.
        """
        offset = clock.offset(after)
        fired_at = after
        while after.year <= fired_at.year + _MAX_YEARS:
            change = None
            for reading in self._readings(_naive(after + offset)):
                instant = _aware(reading - offset)
                change = clock.first_change(after, instant, offset)
                if change is not None:
                    break
                yield instant
                after = fired_at = instant
            if change is None:
                return
            after, offset = change - _SECOND, clock.offset(change)

    def _readings(self, after: dt.datetime) -> Iterator[dt.datetime]:
        return CronSim(self.expression, after)


@dataclass(frozen=True, slots=True)
class _Clock:
    """A clock on a wall: what it shows when, and when it shows what."""

    zone: zoneinfo.ZoneInfo

    def offset(self, instant: dt.datetime) -> dt.timedelta:
        return instant.astimezone(self.zone).utcoffset() or dt.timedelta()

    def reading(self, instant: dt.datetime) -> dt.datetime:
        return instant.astimezone(self.zone).replace(tzinfo=None)

    def first_instant(self, reading: dt.datetime) -> dt.datetime:
        """When the clock first shows ``reading``; when it would have, the end of what it skips."""
        instant = reading.replace(tzinfo=self.zone).astimezone(dt.UTC)
        if self.reading(instant) == reading:
            return instant
        before, after = (reading.replace(tzinfo=self.zone, fold=fold).utcoffset() for fold in (0, 1))
        assert before is not None
        assert after is not None  # PEP 495: of a reading that is skipped, fold tells the offsets on both sides
        return self.first_change(_aware(reading - after), instant, before) or instant

    def first_change(self, after: dt.datetime, until: dt.datetime, offset: dt.timedelta) -> dt.datetime | None:
        """The first second after ``after``, up to ``until``, whose offset is not ``offset``.

        It looks once a day: no zone changes its offset and takes that back within one.
        """
        low = after
        while low < until:
            high = min(low + _DAY, until)
            if self.offset(high) != offset:
                while high - low > _SECOND:
                    middle = _middle(low, high)
                    low, high = (middle, high) if self.offset(middle) == offset else (low, middle)
                return high
            low = high
        return None


def parse_schedule(expression: str, timezone: str = "UTC") -> Schedule:
    """The schedule ``expression`` names in ``timezone``.

    Raises:
        InvalidInputError: says which field is wrong and what it may say, that there is no such zone, or that the
            schedule never fires.
    """
    for wrong in (wrong_schedule(expression), wrong_timezone(timezone)):
        if wrong is not None:
            raise InvalidInputError(wrong)
    schedule = Schedule(" ".join(expression.split()), timezone)
    schedule.next_after(_TRIED_FROM)
    return schedule


def wrong_schedule(expression: str) -> str | None:
    """Why ``expression`` is no schedule in any zone, or None."""
    parts = expression.split()
    if len(expression) > _MAX_CHARACTERS:
        return f"a schedule has at most {_MAX_CHARACTERS} characters"
    if len(parts) not in (5, 6):
        return (
            f"{expression!r} has {len(parts)} field{'' if len(parts) == 1 else 's'}: expected five (minute hour"
            " day-of-month month day-of-week), as in '*/5 * * * *', or six with seconds first"
        )
    for position, part in enumerate(parts, start=len(_FIELDS) - len(parts)):
        field, values = _FIELDS[position]
        if not _is_understood(part, position):
            return f"{part!r} is no {field}: expected {values}, *, a list (1,3), a rising range (1-3) or a step (*/2)"
    try:
        next(CronSim(expression, _naive(_TRIED_FROM)))
    except (CronSimError, StopIteration):
        return f"{expression!r} never fires: there is no such day"
    return None


def wrong_timezone(timezone: str) -> str | None:
    """Why ``timezone`` is no zone, or None."""
    if _is_zone(timezone):
        return None
    close = difflib.get_close_matches(timezone, sorted(zoneinfo.available_timezones()), n=1, cutoff=0.7)
    suggestion = f" (did you mean {close[0]}?)" if close else ""
    return f"{timezone!r} is not a time zone: expected an IANA name, as in Europe/Berlin or UTC{suggestion}"


def next_times(schedule: Schedule, after: dt.datetime, count: int) -> list[dt.datetime]:
    """The first ``count`` instants of ``schedule`` after ``after`` (aware), ascending, in UTC."""
    return list(itertools.islice(schedule.ticks_after(after), count))


@dataclass(frozen=True, slots=True)
class Due:
    """What to do now.

    Attributes:
        times: fire once for each, oldest first: the ``scheduled_at`` of its event.
        next_at: to be stored in place of the one that was given; in the future.
        passed_over_from: the oldest tick that is due and does not fire, for the log; None: there is none.
    """

    times: tuple[dt.datetime, ...]
    next_at: dt.datetime
    passed_over_from: dt.datetime | None = None


def due(schedule: Schedule, *, next_at: dt.datetime, now: dt.datetime, missed: Missed) -> Due:
    """Which ticks of ``schedule`` from ``next_at`` until ``now`` (both included) fire now.

    As long as it is asked at least every ``GRACE``, every tick fires, once, whatever ``missed`` says. After a longer
    pause:

    * ``skip``: those that are no older than ``GRACE`` fire, the others are passed over.
    * ``once``: the latest fires for all of them.
    * ``all``: each fires, the latest ``MAX_CATCH_UP`` of them at most.

    Whoever asks commits the rows it writes and the new ``next_at`` together. A ``next_at`` that the schedule does
    not name (it was changed, or its zone was) never fires: it is where to look from. With a ``next_at`` in the
    future nothing does, so a clock that was set back fires nothing twice.

    Args:
        next_at: as stored, aware.
        now: aware; of the one clock that also decided ``next_at``.
    """
    since, now = _utc(next_at) - _INSTANT, _utc(now)
    oldest = schedule.next_after(since)
    if oldest > now:
        return Due((), oldest)
    on_time_since = max(since, now - GRACE - _INSTANT)
    is_late = oldest <= on_time_since
    match missed:
        case "skip":
            times = _latest(schedule, on_time_since, now, MAX_CATCH_UP)
        case "once":
            times = _latest(schedule, since, now, 1 if is_late else MAX_CATCH_UP)
        case "all":
            times = _latest(schedule, since, now, MAX_CATCH_UP)
        case _:
            assert_never(missed)
    passed_over = not times or times[0] > oldest
    return Due(tuple(times), schedule.next_after(now), oldest if passed_over else None)


def _latest(schedule: Schedule, since: dt.datetime, now: dt.datetime, count: int) -> list[dt.datetime]:
    """The last ``count`` ticks after ``since`` and up to ``now``, ascending, without walking all of them.

    The fewer ticks there are after an instant, the later it is: so halving finds the one with ``count`` after it.
    """
    times = _ticks(schedule, since, now, count + 1)
    if len(times) <= count:
        return times
    low, high = since.replace(microsecond=0), now.replace(microsecond=0)
    while high - low > _SECOND:
        middle = _middle(low, high)
        low, high = (middle, high) if len(_ticks(schedule, middle, now, count + 1)) > count else (low, middle)
    return _ticks(schedule, high, now, count)


def _ticks(schedule: Schedule, since: dt.datetime, now: dt.datetime, limit: int) -> list[dt.datetime]:
    """The first ``limit`` ticks after ``since`` and up to ``now``."""
    ticks = itertools.takewhile(lambda tick: tick <= now, schedule.ticks_after(since))
    return list(itertools.islice(ticks, limit))


def _is_understood(part: str, position: int) -> bool:
    """Whether ``part`` can be the field at ``position`` of six, whatever the others say."""
    parts = ["*"] * len(_FIELDS)
    parts[position] = part
    try:
        CronSim(" ".join(parts), _naive(_TRIED_FROM))
    except CronSimError:
        return False
    return True


def _is_zone(name: str) -> bool:
    """Whether there is such a zone. ZoneInfo opens a file by the name it is given, so the name is looked at first."""
    if not _ZONE.fullmatch(name) or name in _NOT_ZONES:
        return False
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder
        return False
    return True


def _middle(low: dt.datetime, high: dt.datetime) -> dt.datetime:
    """A whole second between two that are more than one apart."""
    return (low + (high - low) / 2).replace(microsecond=0)


def _utc(instant: dt.datetime) -> dt.datetime:
    if instant.tzinfo is None:
        raise ValueError("an instant without a zone")
    return instant.astimezone(dt.UTC)


def _naive(instant: dt.datetime) -> dt.datetime:
    return instant.replace(tzinfo=None)


def _aware(instant: dt.datetime) -> dt.datetime:
    return instant.replace(tzinfo=dt.UTC)
