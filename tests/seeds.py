"""Apps for tests, written by SQL directly: what is under test is never what sets the stage."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class SeededApp:
    """An app that exists, and whom its routes run as."""

    id: int
    name: str
    principal_id: int


@dataclass(frozen=True, slots=True)
class SeededRoute:
    """A route and its script, which has one version."""

    id: int
    script_id: int


def create_app(connection: Connection[Any], name: str | None = None) -> SeededApp:
    """An app with a principal of its own."""
    serial = next(_serial)
    name = name or f"app{serial}"
    principal_id = _value(
        connection,
        "insert into principals (kind, name) values ('user', %s)"
        " on conflict (name) do update set kind = 'user' returning id",
        f"owner-of-{name}",
    )
    app_id = _value(connection, "insert into apps (name, created_by) values (%s, %s) returning id", name, principal_id)
    return SeededApp(app_id, name, principal_id)


def create_script(
    connection: Connection[Any], app: SeededApp, name: str, source: str = "ctx.request.path", timeout_ms: int = 5_000
) -> int:
    """A script with version 1; returns its id."""
    script_id = _value(
        connection,
        "insert into scripts (app_id, name, current_version, timeout_ms) values (%s, %s, 1, %s) returning id",
        app.id,
        name,
        timeout_ms,
    )
    connection.execute(
        "insert into script_versions (script_id, version, source, sha256, limits, created_by)"
        " values (%s, 1, %s, %s, %s, %s)",
        (script_id, source, hashlib.sha256(source.encode()).digest(), json.dumps({}), app.principal_id),
    )
    return script_id


def create_route(
    connection: Connection[Any],
    app: SeededApp,
    method: str = "GET",
    path: str = "/",
    dispatch_mode: str = "sync",
    *,
    source: str = "ctx.request.path",
    timeout_ms: int = 5_000,
) -> SeededRoute:
    """A route with a script of its own; the app's revision moves on, as a deploy does it."""
    script_id = create_script(connection, app, f"script{next(_serial)}", source, timeout_ms)
    route_id = _value(
        connection,
        "insert into routes (app_id, method, path, script_id, dispatch_mode, principal_id)"
        " values (%s, %s, %s, %s, %s, %s) returning id",
        app.id,
        method,
        path,
        script_id,
        dispatch_mode,
        app.principal_id,
    )
    bump_revision(connection, app)
    return SeededRoute(route_id, script_id)


def bump_revision(connection: Connection[Any], app: SeededApp) -> None:
    """Make every cached copy of the app stale."""
    connection.execute("update apps set revision = revision + 1 where id = %s", (app.id,))


def map_domain(connection: Connection[Any], app: SeededApp, domain: str) -> None:
    """Serve the app under ``domain``."""
    connection.execute("insert into domains (domain, app_id) values (%s, %s)", (domain, app.id))


def _value(connection: Connection[Any], query: Any, *parameters: object) -> int:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return int(row[0])
