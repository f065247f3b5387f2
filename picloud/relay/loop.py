"""One round of the relay after the other: claim what is due, publish it, look after leases, wait.

A round never sleeps while there is both something due and room for it. When
there is not, the relay blocks on its wake token until something falls due, a
lease ends, or 4.5 seconds have passed: a writer may die between its commit and
its wake, and this bounds how long its row waits.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection

from picloud import broker
from picloud.database import Reconnecting, fetch
from picloud.failpoints import failpoint
from picloud.observability.metrics import RELAY_CLAIMED, RELAY_PUBLISHED, RELAY_ROUNDS, TAKEN_BACK
from picloud.observability.tally import TALLY
from picloud.outbox.accept import PUBLISH_LEASE
from picloud.queries import Queries
from picloud.relay import retention, schedules, sweeps
from picloud.relay.grouping import ClaimedRow, group
from picloud.relay.lanes import Lane, LaneBook
from picloud.relay.publisher import EpochLostError, Publisher
from picloud.relay.window import MOST_PAYLOAD_BYTES, MOST_ROWS, SHORTEST_WAIT_SECONDS, Capacity, wait_seconds
from picloud.settings import Settings

_SQL = Queries("relay")
_LOG = logging.getLogger("picloud.relay")

_SWEEP_SECONDS = 1.0
_EPOCH_SECONDS = 0.9
#: While a backlog is drained, how often schedules are looked at; else right when something is due.
_SCHEDULES_SECONDS = 0.5
_SWEEP_KEYS_SECONDS = 60.0
_MAKE_DAYS_SECONDS = 3_600.0
#: Discovery walks dead index entries; it may take at most this share of the relay's time.
_DISCOVERY_SHARE = 0.05
#: While a backlog is drained, how soon an app that was silent before is found.
_DISCOVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Discovery:
    at: float = -1e9
    took: float = 0.0

    def due_in(self, now: float, *, at_once: bool) -> float:
        """Seconds until the next one may be made; 0 or less: now."""
        pause = max(0.0 if at_once else _DISCOVERY_SECONDS, self.took / _DISCOVERY_SHARE)
        return self.at + pause - now


class Relay:
    """The scheduler. Owned by one thread; ``round`` raises outages and may simply be called again."""

    def __init__(
        self,
        database: Reconnecting,
        publisher: Publisher,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._settings = settings
        self._clock = clock
        self._lanes = LaneBook()
        self._guard = sweeps.SweepGuard()
        self._clock_guard = schedules.ClockGuard()
        self._retention = retention.RetentionClock()
        self._discovery = _Discovery()
        self._seen_connections = 0
        self._swept_at = self._epoch_checked_at = self._days_made_at = self._keys_swept_at = -1e9
        self._schedules_at = -1e9
        self._is_first_round = True
        #: Somebody said that there is something new, and no discovery has been made since.
        self._has_news = True

    def round(self) -> float:
        """Claim and publish once.

        Returns:
            Seconds to wait before the next round; 0: there may be more to do now.
        """
        TALLY.add(RELAY_ROUNDS, is_news=False)
        connection = self._connection()
        self._check_epoch(connection)
        self._fire_schedules(connection)
        capacity = self._capacity(connection)
        claimed = self._claim(connection, capacity) if capacity.room() else []
        if claimed:
            self._publish(
                connection,
                claimed,
                backlog_is_deep=len(claimed) * 2 >= min(capacity.window(), self._claim_limit(capacity)),
            )
        self._housekeeping(connection, capacity, busy=bool(claimed))
        if claimed:
            return 0.0
        return self._pause(connection, capacity)

    def after_outage(self) -> None:
        """What was known before is not to be relied on: wakes were lost, and Redis may be another one."""
        self._has_news = True
        self._epoch_checked_at = -1e9

    def wait(self, seconds: float) -> None:
        """Block until woken."""
        if self._publisher.wait(seconds) or seconds >= 1.0:
            self._has_news = True

    def _connection(self) -> Connection[Any]:
        connection = self._database.get()
        if self._database.opened != self._seen_connections:
            self._seen_connections = self._database.opened
            self._guard.distrust(self._clock())
        return connection

    def _fire_schedules(self, connection: Connection[Any]) -> None:
        now = self._clock()
        if now < self._schedules_at:
            return
        if schedules.fire_due(connection, self._clock_guard, now):
            self._has_news = True
        self._schedules_at = now + _SCHEDULES_SECONDS

    def _check_epoch(self, connection: Connection[Any]) -> None:
        now = self._clock()
        if now - self._epoch_checked_at < _EPOCH_SECONDS:
            return
        try:
            self._publisher.check_epoch()
        except EpochLostError:
            if self._is_first_round:
                self._republish(connection)
            else:
                self._reset_published(connection)
        self._is_first_round = False
        self._epoch_checked_at = now

    def _republish(self, connection: Connection[Any]) -> None:
        """A starting relay cannot know what its predecessor pushed: all of it again, duplicates die at begin."""
        rows = fetch(connection, _SQL.published, {"limit": 4 * MOST_ROWS})
        if rows:
            messages = group([_claimed(row) for row in rows], {}, backlog_is_deep=False)
            self._publisher.publish(messages)
            TALLY.add(RELAY_PUBLISHED, amount=len(rows))
            _LOG.info("published %d rows again", len(rows))

    def _reset_published(self, connection: Connection[Any]) -> None:
        total = 0
        while rows := connection.execute(_SQL.reset_published, {"limit": 500}).fetchall():
            total += len(rows)
        self._discovery = _Discovery()
        if total:
            TALLY.add(TAKEN_BACK, "redis_lost", amount=total)
            _LOG.warning("Redis lost its memory: %d published rows are pending again", total)

    def _capacity(self, connection: Connection[Any]) -> Capacity:
        return Capacity(*fetch(connection, _SQL.capacity, {})[0])

    def _claim_limit(self, capacity: Capacity) -> int:
        return min(capacity.room(), self._settings.relay_batch_size)

    def _claim(self, connection: Connection[Any], capacity: Capacity) -> list[Any]:
        now = self._clock()
        if self._discovery.due_in(now, at_once=self._has_news) <= 0:
            self._discover(connection)
        lanes = self._lanes.in_turn()
        if not lanes:
            return []
        limit = self._claim_limit(capacity)
        parameters = self._lane_parameters(lanes) | {
            "limit": limit,
            "share": self._lanes.share(limit),
            "bytes": MOST_PAYLOAD_BYTES,
            "lease": PUBLISH_LEASE,
            "with_restricted": True,
        }
        try:
            rows = fetch(connection, _SQL.claim, parameters)
        except psycopg.errors.UniqueViolation:
            # Another relay put a message of the same key, or in the same slot of a queue, in flight
            # between our look and our claim; the index refused the second. Without such rows now.
            rows = fetch(connection, _SQL.claim, parameters | {"with_restricted": False})
        self._raise_floors(rows)
        return sorted(rows, key=lambda row: (row.available_at, row.seq))

    def _discover(self, connection: Connection[Any]) -> None:
        started = self._clock()
        rows = fetch(connection, _SQL.lanes, {})
        if rows:
            self._lanes.discovered([(Lane(r.app_id, r.is_sync, r.lane), r.available_at) for r in rows], rows[0].now)
        else:
            self._lanes.discovered([], dt.datetime.now(dt.UTC))
        finished = self._clock()
        self._discovery = _Discovery(finished, finished - started)
        self._has_news = False

    def _lane_parameters(self, lanes: list[Lane]) -> dict[str, object]:
        return {
            "app_ids": [lane.app_id for lane in lanes],
            "is_sync": [lane.is_sync for lane in lanes],
            "lanes": [lane.queue_id for lane in lanes],
            "floors": [self._lanes.floors[lane] for lane in lanes],
        }

    def _raise_floors(self, rows: list[Any]) -> None:
        newest: dict[Lane, dt.datetime] = {}
        for row in rows:
            # A lane with restricted rows may have left earlier ones behind, waiting for their turn.
            lane = Lane(row.app_id, row.is_sync, row.lane)
            newest[lane] = max(newest.get(lane, row.available_at), row.available_at)
        restricted = {Lane(row.app_id, row.is_sync, row.lane) for row in rows if row.is_restricted}
        self._lanes.claimed({lane: at for lane, at in newest.items() if lane not in restricted})

    def _publish(self, connection: Connection[Any], rows: list[Any], *, backlog_is_deep: bool) -> None:
        failpoint("relay.claimed")
        TALLY.add(RELAY_CLAIMED, amount=len(rows))
        try:
            messages = group(
                [_claimed(row) for row in rows], self._publisher.run_times(), backlog_is_deep=backlog_is_deep
            )
            self._publisher.publish(messages)
        except EpochLostError:
            self._epoch_checked_at = -1e9
            self._reset_published(connection)
            return
        except broker.OUTAGES:
            connection.execute(_SQL.unpublish, {"ids": [row.id for row in rows], "tokens": [row.token for row in rows]})
            raise
        TALLY.add(RELAY_PUBLISHED, amount=len(rows))
        failpoint("relay.published")

    def _housekeeping(self, connection: Connection[Any], capacity: Capacity, *, busy: bool) -> None:
        """Sweeps once a second while there is anything to sweep; day partitions once an hour."""
        now = self._clock()
        if now - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = now
        sweeps.sweep_unanswerable(connection)
        if capacity.published:
            sweeps.sweep_published(connection, self._publisher)
        if capacity.running:
            database_now = fetch(connection, "select now() as now", {})[0].now
            # Both clocks are read side by side: what the sweeps before took is no step of either.
            if self._guard.may_judge(database_now, self._clock()):
                sweeps.sweep_workers(connection, self._publisher)
        if now - self._keys_swept_at >= _SWEEP_KEYS_SECONDS:
            self._keys_swept_at = now
            sweeps.sweep_keys(connection)
        if not busy and now - self._days_made_at >= _MAKE_DAYS_SECONDS:
            self._days_made_at = now
            retention.make_days(connection)
            database_now = fetch(connection, "select now() as now", {})[0].now
            if self._retention.may_remove(database_now, now):
                retention.remove_one_day(connection, self._settings)

    def _pause(self, connection: Connection[Any], capacity: Capacity) -> float:
        lanes = self._lanes.in_turn()
        event = fetch(connection, _SQL.next_event, self._lane_parameters(lanes))[0]
        until = None if event.at is None else (event.at - event.now).total_seconds()
        if (
            until is not None
            and until <= 0
            and not capacity.room()
            and capacity.slots
            and not self._publisher.ask_for_room()
        ):
            return 0.05  # the lists are empty: the rows are being begun this very moment
        seconds = wait_seconds(capacity, until)
        if self._has_news and capacity.room():
            # The wake came too soon after the last discovery: whom it was for is still unknown.
            seconds = min(seconds, max(SHORTEST_WAIT_SECONDS, self._discovery.due_in(self._clock(), at_once=True)))
        return seconds


def _claimed(row: Any) -> ClaimedRow:
    return ClaimedRow(
        id=row.id,
        token=row.token,
        script_id=row.script_id,
        is_sync=row.is_sync,
        travels_alone=row.is_sync or row.is_restricted or row.is_suspect,
        payload_bytes=row.payload_bytes,
    )
