"""Days are dropped, rows that still live keep what they need, and the books still balance."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from picloud.ids import new_id
from picloud.outbox.run_rows import read_payload
from picloud.relay import retention
from picloud.settings import Settings
from tests.integration.protocol.stage import Stage

pytestmark = pytest.mark.integration

_TABLES = ("payloads", "executions", "attempts", "execution_logs", "abandoned_executions")


def _move_to(stage: Stage, day: dt.date) -> None:
    """Everything in the history happened on ``day``, which has its partitions."""
    stage.db.execute("select ensure_day_partitions(%s)", (day,))
    for table in _TABLES:
        stage.db.execute(f"update {table} set day = %s", (day,))
    stage.db.execute("update outbox set payload_day = %s", (day,))


def test_a_dropped_day_leaves_its_totals_in_the_books(stage: Stage) -> None:
    # Given a day with runs that ended in every way
    done, dead = stage.begun(2)
    stage.settle(done, "completed")
    stage.settle(dead, "rejected", reason="not_retryable")
    (deep,) = stage.begun()
    stage.settle(deep, "depth_exceeded")
    before = stage.books()
    day = stage.today() - dt.timedelta(days=30)
    _move_to(stage, day)
    # When it is dropped
    removed = retention.remove_one_day(stage.db, Settings())
    # Then nothing of it is left but its sums, and they still balance
    assert removed == day
    assert stage.rows("select from executions") == []
    assert stage.rows("select from payloads") == []
    assert stage.books() == before
    stage.assert_books_balance()


def test_rows_that_still_live_keep_their_payload_attempts_and_logs(stage: Stage) -> None:
    # Given a message delayed beyond the retention of its day, after one failed attempt that logged
    (row,) = stage.begun(event=b'{"order": 7}')
    stage.settle(row, "failed", error=b'{"code": "first"}', logs=b'[{"message": "hello"}]', delay_ms=60_000)
    (gone,) = stage.begun()
    stage.settle(gone, "completed")
    day = stage.today() - dt.timedelta(days=30)
    _move_to(stage, day)
    # When the day is dropped
    assert retention.remove_one_day(stage.db, Settings()) == day
    # Then it runs with its payload, and is not counted as accepted twice
    stage.db.execute("update outbox set available_at = now()")
    (again,) = stage.begin(stage.claimed())
    assert again.event == b'{"order": 7}'
    assert read_payload(stage.db, again) == (b'{"order": 7}', None)
    stage.assert_books_balance()
    # And when it dies its letter has the whole history
    stage.settle(again, "rejected", reason="not_retryable", error=b'{"code": "second"}')
    history = stage.rows("select attempt, error, logs from dead_letter_attempts order by attempt")
    assert history == [
        (1, b'{"code": "first"}', b'[{"message": "hello"}]'),
        (2, b'{"code": "second"}', None),
    ]
    stage.assert_books_balance()


def test_one_day_is_removed_at_a_time_the_oldest_first(stage: Stage) -> None:
    today = stage.today()
    days = [today - dt.timedelta(days=age) for age in (40, 30, 20)]
    for day in days:
        stage.db.execute("select ensure_day_partitions(%s)", (day,))
    assert [retention.remove_one_day(stage.db, Settings()) for _ in range(4)] == [*days, None]


def test_history_over_its_bytes_loses_old_days_but_never_yesterday(stage: Stage) -> None:
    today = stage.today()
    stage.db.execute("select ensure_day_partitions(%s)", (today - dt.timedelta(days=3),))
    tight = replace(Settings(), history_max_bytes=1)
    assert [retention.remove_one_day(stage.db, tight) for _ in range(2)] == [today - dt.timedelta(days=3), None]
    assert stage.one("select to_regclass('payloads_' || to_char(current_date - 1, 'YYYYMMDD'))")


def test_a_row_that_comes_when_no_day_was_made_in_time_is_kept(stage: Stage) -> None:
    # Given an id of a day without partitions, as after a clock that jumped
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=90)
    identifier = type(new_id())(int=(int(later.timestamp() * 1000) << 80) | (new_id().int & ((1 << 80) - 1)))
    stage.accepted(id=identifier)
    # Then it runs from the default partition
    (row,) = stage.begin(stage.claimed())
    assert stage.settle(row, "completed") == "done"
    stage.assert_books_balance()


def test_sessions_that_are_over_old_failures_and_an_old_setup_link_are_forgotten(stage: Stage) -> None:
    user = "(select id from principals limit 1)"
    stage.db.execute("insert into principals (kind, name) values ('user', 'anna') on conflict do nothing")
    for name, expires, used in (("valid", "1 day", "6 days"), ("old", "-1 second", "0"), ("unused", "1 day", "7 days")):
        stage.db.execute(
            "insert into sessions (principal_id, token_hash, expires_at, last_used_at)"
            f" values ({user}, %s, now() + %s::interval, now() - %s::interval)",
            (name.encode(), expires, used),
        )
    stage.db.execute(
        "insert into login_failures (subject, failures, last_at) values"
        " ('name:a', 5, now() - interval '25 hours'), ('name:b', 5, now()),"
        " ('known:a/192.0.2.7', 0, now() - interval '29 days'), ('known:b/192.0.2.7', 0, now() - interval '31 days')"
    )
    stage.db.execute("insert into setup_links (secret_hash, expires_at) values ('x', now())")
    retention.remove_one_day(stage.db, Settings())
    assert stage.rows("select token_hash from sessions") == [(b"valid",)]
    assert stage.rows("select subject from login_failures order by subject") == [("known:a/192.0.2.7",), ("name:b",)]
    assert stage.rows("select secret_hash from setup_links") == []
