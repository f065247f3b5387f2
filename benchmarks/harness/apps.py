"""The app that benchmarks run: one handler that adds up ten items."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from psycopg import Connection

from picloud.ids import new_id
from picloud.outbox.accept import Arrival, accept
from picloud.retries import RetryPolicy

SUM_EVENT = "let total = 0; for item in ctx.event.args.items { total += item.qty * item.price; } #{ total: total }"
SUM_REQUEST = "let total = 0; for item in ctx.request.body.items { total += item.qty * item.price; } #{ total: total }"
ITEMS = {"items": [{"qty": number, "price": 100 + number} for number in range(10)]}

_POLICY = RetryPolicy(3, "exponential", 1_000, 60_000, 20)


def seed(connection: Connection[Any]) -> None:
    """App 1 with a handler for events (script 1) and POST /sync, POST /async on a handler for requests (script 2)."""
    connection.execute("insert into principals (kind, name, is_admin) values ('user', 'bench', true)")
    connection.execute("insert into apps (name, created_by) values ('bench', 1)")
    for name, source in (("sum", SUM_EVENT), ("handler", SUM_REQUEST)):
        connection.execute(
            "insert into scripts (app_id, name, current_version, timeout_ms) values (1, %s, 1, 5000)", (name,)
        )
        connection.execute(
            "insert into script_versions (script_id, version, source, sha256, created_by)"
            " select id, 1, %s, %s, 1 from scripts where name = %s",
            (source, hashlib.sha256(source.encode()).digest(), name),
        )
    for path, mode in (("/sync", "sync"), ("/async", "async")):
        connection.execute(
            "insert into routes (app_id, method, path, script_id, dispatch_mode, principal_id)"
            " values (1, 'POST', %s, 2, %s, 1)",
            (path, mode),
        )


def accept_many(connection: Connection[Any], count: int) -> None:
    """Accept ``count`` runs of the event handler; pausing is up to the caller."""
    event = json.dumps({"args": ITEMS}).encode()
    for start in range(0, count, 500):
        accept(
            connection,
            [Arrival(new_id(), 1, 1, 1, "invoke", 1, event, _POLICY) for _ in range(min(500, count - start))],
        )
