"""Reads for the data plane: an app with its routes, the hosts PiCloud serves, and how executions ended.

Store functions: the connection comes first, and nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row

from picloud.access.route_auth import RouteAuth, stored_auth
from picloud.broker import Reply
from picloud.queries import Queries

_SQL = Queries("routing")


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One route of an app.

    Attributes:
        auth: what it asks of its callers.
        principal_id: whom the script runs as.
        timeout_ms: of the route's script: how long a sync caller may wait.
    """

    id: int
    method: str
    path: str
    script_id: int
    is_sync: bool
    auth: RouteAuth
    principal_id: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class AppRow:
    """An app as one snapshot saw it."""

    id: int
    revision: int
    is_paused: bool
    routes: tuple[RouteRow, ...]


@dataclass(frozen=True, slots=True)
class HostRows:
    """Every app's name, and which app each mapped domain belongs to."""

    app_names: frozenset[str]
    app_by_domain: dict[str, str]


async def read_app(connection: AsyncConnection[Any], name: str) -> AppRow | None:
    """The app of this name with its routes; None when there is none."""
    async with connection.cursor(row_factory=namedtuple_row) as cursor:
        await cursor.execute(_SQL.app, {"name": name})
        rows: list[Any] = await cursor.fetchall()
    if not rows:
        return None
    routes = tuple(
        RouteRow(
            r.route_id, r.method, r.path, r.script_id, r.is_sync, stored_auth(r.auth), r.principal_id, r.timeout_ms
        )
        for r in rows
        if r.route_id is not None
    )
    return AppRow(rows[0].id, rows[0].revision, rows[0].is_paused, routes)


async def read_hosts(connection: AsyncConnection[Any]) -> HostRows:
    """The names under which something is served."""
    async with connection.cursor() as cursor:
        await cursor.execute(_SQL.hosts)
        rows = await cursor.fetchall()
    return HostRows(frozenset(name for name, _ in rows), {domain: name for name, domain in rows if domain is not None})


async def read_answers(connection: AsyncConnection[Any], ids: Sequence[UUID]) -> list[Reply]:
    """The answers of those among ``ids`` that have ended, each with its whole result."""
    async with connection.cursor(row_factory=namedtuple_row, binary=True) as cursor:
        await cursor.execute(_SQL.answers, {"ids": list(ids)})
        rows: list[Any] = await cursor.fetchall()
    return [_reply(row) for row in rows]


def _reply(row: Any) -> Reply:  # a namedtuple of the statement's columns
    headers: list[tuple[str, str]] = json.loads(row.http_headers) if row.http_headers is not None else []
    return Reply(
        execution_id=row.id,
        status=row.status,
        result_kind=row.result_kind,
        http_status=row.http_status,
        http_headers=tuple((name, value) for name, value in headers),
        data=row.result,
        error=json.loads(row.error) if row.error is not None else None,
    )
