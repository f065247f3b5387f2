"""Keeps history bounded: days are made ahead, and dropped behind by age and by bytes.

A machine without a clock chip may jump a year ahead; taken at its word, the next
sweep would drop everything. So retention removes at most one day's worth per
hour of *monotonic* time, and nothing until PostgreSQL's clock has advanced
normally for an hour.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection

from picloud.queries import Queries
from picloud.settings import Settings

_SQL = Queries("retention")
_LOG = logging.getLogger("picloud.relay")

_HOUR_SECONDS = 3_600.0
#: How far the two clocks may drift apart within an hour and still count as normal.
_DRIFT_SECONDS = 60.0
#: A dropped day takes an exclusive lock; rather later than never getting past it.
_LOCK_TIMEOUT_MS = 2_000


@dataclass(slots=True)
class RetentionClock:
    """Decides when a day may be removed."""

    _calm_since: tuple[dt.datetime, float] | None = field(default=None)

    def may_remove(self, database_now: dt.datetime, monotonic: float) -> bool:
        """True once an hour, after an hour in which both clocks agreed."""
        if self._calm_since is None:
            self._calm_since = (database_now, monotonic)
            return False
        elapsed = monotonic - self._calm_since[1]
        drift = (database_now - self._calm_since[0]).total_seconds() - elapsed
        if abs(drift) > _DRIFT_SECONDS:
            _LOG.warning("PostgreSQL's clock moved by %+.0f s; nothing is removed for an hour", drift)
            self._calm_since = (database_now, monotonic)
            return False
        if elapsed < _HOUR_SECONDS:
            return False
        self._calm_since = (database_now, monotonic)
        return True


def make_days(connection: Connection[Any]) -> None:
    """Make the partitions of today and the next two days."""
    connection.execute(_SQL.make_days)


def remove_one_day(connection: Connection[Any], settings: Settings) -> dt.date | None:
    """Drop the oldest day that may go, all its tables in one transaction, and forget what aged elsewhere.

    Returns:
        The day, or None when nothing was due or another relay was at it.
    """
    parameters = {
        "history_days": settings.execution_retention_days,
        "abandoned_days": settings.abandoned_executions_retention_days,
        "history_bytes": settings.history_max_bytes,
    }
    connection.execute(_SQL.forget_keys)
    connection.execute(_SQL.forget_dead_letters, {"days": settings.dead_letter_retention_days})
    connection.execute(_SQL.forget_audit_log, {"days": settings.audit_retention_days})
    for forget in (_SQL.forget_sessions, _SQL.forget_login_failures, _SQL.forget_setup_link):
        connection.execute(forget)
    try:
        with connection.transaction():
            connection.execute("select set_config('lock_timeout', %s, true)", (f"{_LOCK_TIMEOUT_MS}ms",))
            locked: Any = connection.execute(_SQL.lock).fetchone()
            if not locked[0]:
                return None
            expired: Any = connection.execute(_SQL.expired_day, parameters).fetchone()
            day: dt.date | None = expired[0]
            if day is not None:
                connection.execute(_SQL.drop_day, parameters | {"day": day})
                _LOG.info("history of %s removed", day)
            return day
    except psycopg.errors.LockNotAvailable:
        _LOG.info("history is busy; removal is tried again in an hour")
        return None
