"""Everything an app has, for tests that nothing of it is read or changed."""

from __future__ import annotations

from typing import Any

import psycopg


def belongings(connection: psycopg.Connection[Any], app_id: int) -> dict[str, list[str]]:
    """Every row that names the app, table by table, as text; a table that is added later is among them."""
    tables = connection.execute(
        "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where a.attname = 'app_id' and c.relkind in ('r', 'p') and not c.relispartition"
        " and c.relnamespace = 'public'::regnamespace"
    ).fetchall()
    found = {"apps": _rows(connection, "select * from apps where id = %s", app_id)}
    return found | {name: _rows(connection, f"select * from {name} where app_id = %s", app_id) for (name,) in tables}


def _rows(connection: psycopg.Connection[Any], query: Any, app_id: int) -> list[str]:
    return sorted(map(repr, connection.execute(query, [app_id]).fetchall()))
