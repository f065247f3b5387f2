"""A client that leaves while the completion of its run is on its way: two statements about one row."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from picloud.ids import new_id
from picloud.outbox.accept import ONE_ATTEMPT, Arrival, ReplyWanted, accept
from picloud.outbox.run_rows import Settled, Settlement, settle
from tests.seeds import create_app

pytestmark = pytest.mark.integration

_TOKEN = 7


def running_sync_row(db: psycopg.Connection[Any]) -> Arrival:
    app = create_app(db)
    wanted = ReplyWanted("inbox", 5_000, 1)
    arrival = Arrival(new_id(), app.id, 1, 1, "http", app.principal_id, b"{}", ONE_ATTEMPT, reply=wanted)
    assert not accept(db, [arrival]).refused
    db.execute(
        "update outbox set state = 2, token = %s, attempt = 1, worker_id = gen_random_uuid(), begun_at = now()"
        " where id = %s",
        (_TOKEN, arrival.id),
    )
    return arrival


def until_somebody_waits_for_a_lock(db: psycopg.Connection[Any]) -> None:
    deadline = time.monotonic() + 10
    while not db.execute("select from pg_locks where not granted").rowcount:
        assert time.monotonic() < deadline, "nobody waits for the row's lock"
        time.sleep(0.01)  # PostgreSQL does not signal that a lock is waited for


def test_a_run_whose_client_leaves_at_that_moment_is_completed_and_not_lost(database_url: str) -> None:
    with (
        psycopg.connect(database_url, autocommit=True) as web,
        psycopg.connect(database_url, autocommit=True) as worker,
        psycopg.connect(database_url, autocommit=True) as watcher,
    ):
        arrival = running_sync_row(web)
        settled: list[Settled] = []
        settlement = Settlement(arrival.id, _TOKEN, "completed", result_kind="unit", run_us=10, version=1)
        completing = threading.Thread(target=lambda: settled.extend(settle(worker, [settlement])))
        with web.transaction():
            web.execute("update outbox set reply_deadline = now() where id = %s", (arrival.id,))
            completing.start()
            until_somebody_waits_for_a_lock(watcher)
        completing.join(10)
        assert [(each.verdict, each.is_abandoned) for each in settled] == [("done", True)]
        assert watcher.execute("select from outbox").rowcount == 0
        assert watcher.execute("select status from executions").fetchall() == [("abandoned",)]
