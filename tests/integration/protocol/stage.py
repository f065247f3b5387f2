"""Rows moved through the protocol by its own statements, one step at a time, without any process."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import namedtuple_row

from picloud.ids import new_id
from picloud.outbox.accept import PUBLISH_LEASE, Arrival, accept
from picloud.outbox.run_rows import BegunRow, Settlement, WorkerProcess, begin, settle
from picloud.queries import Queries
from picloud.retries import RetryPolicy
from tests.seeds import SeededApp, create_app, create_script

_RELAY = Queries("relay")
_BOOKS = Queries("inspect").books

RETRY = RetryPolicy(max_attempts=3, backoff="constant", base_ms=0, max_ms=0, jitter_pct=0)
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

#: What a message carries for each row.
Pair = tuple[UUID, int]


def worker_process() -> WorkerProcess:
    """A worker process nobody has seen before."""
    return WorkerProcess(uuid.uuid4(), "host", 1, uuid.uuid4(), threads=4, takes_sync=True, release="test")


@dataclass(slots=True)
class Stage:
    """One connection, one app with one script, one worker process."""

    db: Connection[Any]
    app: SeededApp
    script_id: int
    worker: WorkerProcess

    @classmethod
    def set_up(cls, db: Connection[Any]) -> Stage:
        app = create_app(db)
        return cls(db, app, create_script(db, app, "script"), worker_process())

    def arrival(self, **changes: Any) -> Arrival:
        values: dict[str, Any] = {
            "id": new_id(),
            "app_id": self.app.id,
            "app_revision": self.one("select revision from apps where id = %s", self.app.id),
            "script_id": self.script_id,
            "source": "invoke",
            "principal_id": self.app.principal_id,
            "event": b"{}",
            "retry": RETRY,
        }
        return Arrival(**(values | changes))

    def accepted(self, count: int = 1, **changes: Any) -> list[UUID]:
        arrivals = [self.arrival(**changes) for _ in range(count)]
        assert not accept(self.db, arrivals).refused
        return [arrival.id for arrival in arrivals]

    def claim(
        self,
        *,
        apps: Sequence[int] = (),
        floor: dt.datetime = LONG_AGO,
        limit: int = 100,
        share: int = 100,
        most_bytes: int = 1 << 22,
        with_restricted: bool = True,
        is_sync: bool = False,
        lane: int = 0,
    ) -> list[Any]:
        """Claim rows of ``apps`` (ours by default), in the order a relay publishes them."""
        app_ids = list(apps) or [self.app.id]
        parameters = {
            "app_ids": app_ids,
            "is_sync": [is_sync] * len(app_ids),
            "lanes": [lane] * len(app_ids),
            "floors": [floor] * len(app_ids),
            "limit": limit,
            "share": share,
            "bytes": most_bytes,
            "lease": PUBLISH_LEASE,
            "with_restricted": with_restricted,
        }
        with self.db.cursor(row_factory=namedtuple_row) as cursor:
            cursor.execute(_RELAY.claim, parameters)
            return sorted(cursor.fetchall(), key=lambda row: (row.available_at, row.seq))

    def claimed(self) -> list[Pair]:
        return [(row.id, row.token) for row in self.claim()]

    def begin(self, pairs: Sequence[Pair], worker: WorkerProcess | None = None) -> list[BegunRow]:
        return begin(self.db, worker or self.worker, pairs, 1.0)

    def begun(self, count: int = 1, **changes: Any) -> list[BegunRow]:
        """Rows that our worker process runs."""
        self.accepted(count, **changes)
        rows = self.begin(self.claimed())
        assert len(rows) == count
        return rows

    def settle(self, row: BegunRow | Pair, outcome: Any, **values: Any) -> str:
        """Settle one run; the verdict."""
        identifier, token = (row.id, row.token) if isinstance(row, BegunRow) else row
        usual: dict[str, Any] = {"run_us": 10, "version": 1}
        usual |= {"result_kind": "unit"} if outcome == "completed" else {"error": b'{"code": "script_failed"}'}
        (settled,) = settle(self.db, [Settlement(identifier, token, outcome, **(usual | values))])
        return settled.verdict

    def rows(self, query: Any, *parameters: object) -> list[tuple[Any, ...]]:
        return self.db.execute(query, parameters).fetchall()

    def one(self, query: Any, *parameters: object) -> Any:
        rows = self.rows(query, *parameters)
        return rows[0][0] if rows else None

    def today(self) -> dt.date:
        """By PostgreSQL's clock, as partitions are."""
        today: dt.date = self.one("select current_date")
        return today

    def books(self) -> dict[str, int]:
        names = ("accepted", "completed", "failed", "dead", "cancelled", "depth_exceeded", "pending", "running")
        return dict(zip(names, self.rows(_BOOKS)[0], strict=True))

    def assert_books_balance(self) -> None:
        books = self.books()
        assert books["accepted"] == sum(books.values()) - books["accepted"], books
