"""What the relay takes back: publish leases that lapsed, rows of dead workers, sync rows nobody can answer.

Every sweep is ``SKIP LOCKED`` and idempotent, so every relay may run them all.
A relay that has just connected, or whose clock and PostgreSQL's moved apart,
waits one dead-interval first: after a PostgreSQL restart every heartbeat is old,
and taking that for death would charge every running job.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

from picloud.broker import Reply
from picloud.observability.metrics import TAKEN_BACK
from picloud.observability.tally import TALLY
from picloud.outbox.accept import PUBLISH_LEASE
from picloud.outbox.run_rows import Settled, Settlement, settle
from picloud.queries import Queries
from picloud.relay.publisher import Publisher

_SQL = Queries("relay")
_LOG = logging.getLogger("picloud.relay")

#: A worker process that holds work and has not beaten for this long is dead.
DEAD_INTERVAL = dt.timedelta(seconds=15)
#: How far PostgreSQL's clock may move against ours between two sweeps before it counts as a step.
_CLOCK_STEP_SECONDS = 1.0
_BATCH = 500
_DEAD_WORKERS_FORGOTTEN_AFTER = dt.timedelta(days=1)

#: Why rows are taken back, in the words of ``picloud_rows_taken_back_total``.
_REASONS = {"lost": "worker_lost", "crashed": "overdue"}

_LOST_ERROR = json.dumps({"code": "worker_lost", "message": "the worker that ran this was lost"}).encode()
_OVERDUE_ERROR = json.dumps({"code": "worker_crash", "message": "the run outlived its hard deadline"}).encode()
_UNANSWERED_ERROR = json.dumps(
    {"code": "no_answer", "message": "no worker began this before its caller was answered"}
).encode()


@dataclass(slots=True)
class SweepGuard:
    """Decides whether heartbeats may be judged now.

    Attributes:
        trusted_after: monotonic seconds before which nobody is declared dead.
    """

    trusted_after: float = 0.0
    _last: tuple[dt.datetime, float] | None = field(default=None)

    def distrust(self, monotonic: float) -> None:
        """Beats may be old for reasons that are not the workers': wait one dead-interval."""
        self.trusted_after = monotonic + DEAD_INTERVAL.total_seconds()
        self._last = None

    def may_judge(self, database_now: dt.datetime, monotonic: float) -> bool:
        """True when PostgreSQL's clock has advanced like ours since the last look."""
        previous, self._last = self._last, (database_now, monotonic)
        if previous is not None:
            drift = (database_now - previous[0]).total_seconds() - (monotonic - previous[1])
            if abs(drift) > _CLOCK_STEP_SECONDS:
                _LOG.warning("PostgreSQL's clock moved by %+.1f s; sweeps wait", drift)
                self.distrust(monotonic)
        return monotonic >= self.trusted_after


def sweep_published(connection: Connection[Any], publisher: Publisher) -> None:
    """Look after publish leases that ended: still in a list, extended; gone, pending again."""
    lapsed = [(row[0], row[1]) for row in connection.execute(_SQL.lapsed, {"limit": _BATCH}).fetchall()]
    if not lapsed:
        return
    waiting = publisher.rows_waiting()
    still_there = [pair for pair in lapsed if pair[0] in waiting]
    gone = [pair for pair in lapsed if pair[0] not in waiting]
    if still_there:
        connection.execute(_SQL.extend_publish_lease, _pairs(still_there) | {"lease": PUBLISH_LEASE})
    if gone:
        connection.execute(_SQL.unpublish, _pairs(gone))
        TALLY.add(TAKEN_BACK, "message_lost", amount=len(gone))
        _LOG.info("%d published rows were lost on their way and are pending again", len(gone))


def sweep_unanswerable(connection: Connection[Any]) -> int:
    """Settle sync rows that nobody began in time; their callers have been answered."""
    row = connection.execute(_SQL.unanswerable, {"limit": _BATCH, "error": _UNANSWERED_ERROR}).fetchone()
    count = row[0] if row else 0
    if count:
        TALLY.add(TAKEN_BACK, "unanswered", amount=count)
    return count


def sweep_workers(connection: Connection[Any], publisher: Publisher) -> None:
    """Take rows back from workers that no longer beat, and from runs past their hard deadline."""
    while _settle_batch(connection, publisher, _SQL.orphaned, "lost", _LOST_ERROR) == _BATCH:
        continue
    while _settle_batch(connection, publisher, _SQL.overdue, "crashed", _OVERDUE_ERROR) == _BATCH:
        continue
    connection.execute(_SQL.forget_dead_workers, {"age": _DEAD_WORKERS_FORGOTTEN_AFTER})


def sweep_keys(connection: Connection[Any]) -> None:
    """Remove keys whose time has passed; add up what the apps keep."""
    while connection.execute(_SQL.sweep_keys, {"limit": _BATCH}).fetchone() == (_BATCH,):
        continue
    connection.execute(_SQL.compact_usage)


def _settle_batch(connection: Connection[Any], publisher: Publisher, statement: Any, outcome: Any, error: bytes) -> int:
    # Selected and settled in one transaction: the row locks keep another relay, and a
    # worker that comes back from the dead, from settling them in between.
    with connection.transaction():
        parameters = {"limit": _BATCH, "dead": DEAD_INTERVAL}
        rows = connection.execute(statement, parameters).fetchall()
        settled = settle(connection, [Settlement(r[0], r[1], outcome, error=error) for r in rows]) if rows else []
    if rows:
        TALLY.add(TAKEN_BACK, _REASONS[outcome], amount=len(rows))
        _LOG.warning("%d rows taken back: %s", len(rows), outcome)
    _answer_waiters(publisher, settled, error)
    return len(rows)


def _answer_waiters(publisher: Publisher, settled: list[Settled], error: bytes) -> None:
    """Sync runs that ended here: their callers need not wait for the deadline."""
    for each in settled:
        if each.reply_to and each.verdict == "done":
            reply = Reply(each.id, "failed", error=json.loads(error))
            publisher.reply_inbox_push(each.reply_to, [reply.encode()])


def _pairs(pairs: list[tuple[Any, int]]) -> dict[str, object]:
    return {"ids": [identifier for identifier, _ in pairs], "tokens": [token for _, token in pairs]}
