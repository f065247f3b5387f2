"""Cron triggers against PostgreSQL: each tick fires once, whoever looks, and not before the clock is sane."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any

import pytest

from picloud.database import connect
from picloud.relay.schedules import ClockGuard, fire_due
from tests.integration.protocol.stage import Stage


def cron_trigger(
    stage: Stage, *, next_at: str = "now() - interval '1 s'", schedule: str = "* * * * * *", missed: str = "once"
) -> int:
    trigger: int = stage.one(
        "insert into triggers (app_id, name, kind, script_id, registered_by_principal, max_attempts, backoff,"
        " backoff_base_ms, backoff_max_ms, backoff_jitter_pct)"
        " values (%s, 'tick', 'cron', %s, %s, 3, 'constant', 0, 0, 0) returning id",
        stage.app.id,
        stage.script_id,
        stage.app.principal_id,
    )
    stage.db.execute(
        "insert into cron_triggers (trigger_id, schedule, timezone, missed, is_on, next_at)"
        f" values (%s, %s, 'Europe/Berlin', %s, true, date_trunc('second', {next_at}))",
        [trigger, schedule, missed],
    )
    return trigger


def events(stage: Stage) -> list[dict[str, Any]]:
    rows = stage.rows(
        "select p.event from outbox o join payloads p on p.id = o.id and p.day = o.payload_day"
        " where o.source = 'cron' order by o.seq"
    )
    return [json.loads(bytes(row[0])) for row in rows]


def fire(stage: Stage, guard: ClockGuard | None = None, monotonic: float = 100.0) -> int:
    return fire_due(stage.db, guard or ClockGuard(), monotonic)


def test_a_tick_that_is_due_becomes_a_row_and_the_trigger_moves_on(stage: Stage) -> None:
    trigger = cron_trigger(stage, schedule="0 0 1 1 *", next_at="date_trunc('second', now())")
    stage.db.execute("update cron_triggers set schedule = '* * * * * *'")
    assert fire(stage) >= 1
    event = events(stage)[-1]
    assert (event["schedule"], event["timezone"]) == ("* * * * * *", "Europe/Berlin")
    scheduled = dt.datetime.fromisoformat(event["scheduled_at"])
    assert scheduled <= dt.datetime.fromisoformat(event["fired_at"])
    row = stage.rows(
        "select trigger_id, trigger_depth, root_execution_id = id, principal_id, max_attempts from outbox"
    )[0]
    assert row == (trigger, 0, True, stage.app.principal_id, 3)
    assert stage.one("select next_at > %s from cron_triggers", scheduled)


def test_nothing_fires_before_its_time_or_when_switched_off(stage: Stage) -> None:
    cron_trigger(stage, next_at="now() + interval '1 hour'")
    assert fire(stage) == 0
    stage.db.execute("update cron_triggers set next_at = now(), is_on = false")
    assert fire(stage) == 0


@pytest.mark.parametrize(("missed", "most"), [("skip", 31), ("once", 1), ("all", 100)])
def test_ticks_that_were_missed_fire_as_the_trigger_says(stage: Stage, missed: str, most: int) -> None:
    cron_trigger(stage, next_at="now() - interval '10 minutes'", missed=missed)
    assert 0 < fire(stage) <= most
    assert len(events(stage)) <= most
    assert stage.one("select next_at > now() - interval '1 s' from cron_triggers")


def test_of_several_relays_one_fires_a_tick(stage: Stage, database_url: str) -> None:
    cron_trigger(stage, next_at="now() - interval '20 s'", missed="all")
    barrier = threading.Barrier(4)

    def look() -> None:
        with connect(database_url, name="test") as connection:
            barrier.wait()
            fire_due(connection, ClockGuard(), 100.0)

    relays = [threading.Thread(target=look) for _ in range(4)]
    for relay in relays:
        relay.start()
    for relay in relays:
        relay.join()
    scheduled = [event["scheduled_at"] for event in events(stage)]
    assert len(scheduled) >= 20
    assert len(scheduled) == len(set(scheduled))


def test_nothing_fires_before_the_day_the_installation_was_made(stage: Stage) -> None:
    # A Pi without a clock of its own starts in the past.
    cron_trigger(stage)
    stage.db.execute("update installation set created_at = now() + interval '1 day'")
    assert fire(stage) == 0
    assert events(stage) == []


def test_nothing_fires_right_after_the_clock_jumped() -> None:
    guard = ClockGuard()
    made = start = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
    assert guard.believes(start, made, 100.0)
    assert guard.believes(start + dt.timedelta(seconds=1), made, 101.0)
    jumped = start + dt.timedelta(days=300)
    assert not guard.believes(jumped, made, 102.0)
    assert not guard.believes(jumped + dt.timedelta(seconds=1), made, 103.0)
    assert guard.believes(jumped + dt.timedelta(seconds=6), made, 108.0)
