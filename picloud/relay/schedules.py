"""Fires cron triggers: one row a tick, written in the transaction that moves the trigger on.

However many relays there are, a tick fires once: the trigger's row is locked while its
ticks are written, and whoever else comes meanwhile passes it over. Nothing fires while
the clock cannot be believed: before the day this installation was made, or right after
it jumped (a Pi has no clock of its own until the network tells it the time).
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

from picloud.database import fetch
from picloud.ids import new_id
from picloud.queries import Queries
from picloud.triggers.cron import due, parse_schedule

_SQL = Queries("schedules")
_LOG = logging.getLogger("picloud.relay")

_BATCH = 50
#: How far the clock may move against ours between two looks before it counts as a jump.
_JUMP_SECONDS = 2.0
#: And how long it is not believed after one.
_DISTRUST_SECONDS = 5.0


@dataclass(slots=True)
class ClockGuard:
    """Decides whether the database's clock can be believed."""

    _last: tuple[dt.datetime, float] | None = field(default=None)
    _trusted_after: float = float("-inf")

    def believes(self, now: dt.datetime, made_at: dt.datetime, monotonic: float) -> bool:
        """Whether ticks may fire.

        Args:
            now: PostgreSQL's.
            made_at: when the installation was made.
            monotonic: ours, in seconds, read at the same time.
        """
        previous, self._last = self._last, (now, monotonic)
        if previous is not None:
            jump = (now - previous[0]).total_seconds() - (monotonic - previous[1])
            if abs(jump) > _JUMP_SECONDS:
                _LOG.warning("the clock moved by %+.1f s: schedules wait", jump)
                self._trusted_after = monotonic + _DISTRUST_SECONDS
        return now >= made_at and monotonic >= self._trusted_after


def fire_due(connection: Connection[Any], guard: ClockGuard, monotonic: float) -> int:
    """Write the rows of all ticks that are due; how many there were."""
    (clock,) = fetch(connection, _SQL.clock)
    if not clock.is_due or not guard.believes(clock.now, clock.made_at, monotonic):
        return 0
    total = 0
    while True:
        with connection.transaction():
            triggers = fetch(connection, _SQL.due, {"limit": _BATCH})
            total += sum(_fire(connection, trigger) for trigger in triggers)
        if len(triggers) < _BATCH:
            return total


def _fire(connection: Connection[Any], trigger: Any) -> int:
    schedule = parse_schedule(trigger.schedule, trigger.timezone)
    ticks = due(schedule, next_at=trigger.next_at, now=trigger.now, missed=trigger.missed)
    if ticks.passed_over_from is not None:
        _LOG.info(
            "%s: ticks since %s are passed over (missed = %s)", trigger.name, ticks.passed_over_from, trigger.missed
        )
    events = [_event(trigger, at) for at in ticks.times]
    connection.execute(
        _SQL.fire,
        {
            "trigger_id": trigger.id,
            "ids": [new_id() for _ in events],
            "events": events,
            "next_at": ticks.next_at,
        },
    )
    return len(events)


def _event(trigger: Any, scheduled_at: dt.datetime) -> bytes:
    event = {
        "schedule": trigger.schedule,
        "timezone": trigger.timezone,
        "scheduled_at": _rfc3339(scheduled_at),
        "fired_at": _rfc3339(trigger.now),
    }
    return json.dumps(event).encode()


def _rfc3339(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
