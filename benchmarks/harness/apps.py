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
    connection.execute("insert into principals (kind, name, role) values ('user', 'bench', 'owner')")
    connection.execute("insert into apps (name, created_by) values ('bench', 1)")
    for name, source in (("sum", SUM_EVENT), ("handler", SUM_REQUEST)):
        add_script(connection, name, source)
    for path, mode in (("/sync", "sync"), ("/async", "async")):
        connection.execute(
            "insert into routes (app_id, method, path, script_id, dispatch_mode, principal_id)"
            " values (1, 'POST', %s, 2, %s, 1)",
            (path, mode),
        )


def add_script(connection: Connection[Any], name: str, source: str) -> int:
    """A script of app 1; its id."""
    row = connection.execute(
        "insert into scripts (app_id, name, current_version, timeout_ms) values (1, %s, 1, 5000) returning id", (name,)
    ).fetchone()
    assert row is not None
    script_id: int = row[0]
    connection.execute(
        "insert into script_versions (script_id, version, source, sha256, created_by) values (%s, 1, %s, %s, 1)",
        (script_id, source, hashlib.sha256(source.encode()).digest()),
    )
    return script_id


def add_kv_trigger(connection: Connection[Any], collection: str, script: str) -> None:
    """A trigger on every change of a collection."""
    connection.execute(
        "with made as (insert into triggers (app_id, name, kind, script_id, registered_by_principal, max_attempts,"
        " backoff, backoff_base_ms, backoff_max_ms, backoff_jitter_pct)"
        " select 1, %s, 'kv', id, 1, 3, 'exponential', 1000, 60000, 20 from scripts where name = %s returning id)"
        " insert into kv_triggers (trigger_id, app_id, is_prefix, collection, ops)"
        " select id, 1, false, %s, '{insert,update,delete}' from made",
        (f"on-{collection}", script, collection),
    )


def accept_many(connection: Connection[Any], count: int, script_id: int = 1) -> None:
    """Accept ``count`` runs of a script, the event handler by default; pausing is up to the caller."""
    event = json.dumps({"args": ITEMS}).encode()
    for start in range(0, count, 500):
        accept(
            connection,
            [Arrival(new_id(), 1, 1, script_id, "invoke", 1, event, _POLICY) for _ in range(min(500, count - start))],
        )
