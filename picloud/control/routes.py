"""Routes: which script answers which requests of an app.

Here they are changed and listed; ``picloud_web.routing`` finds the one of a request.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal

import msgspec

from picloud.access.route_auth import OPEN, stored_auth
from picloud.control.apps import AppRow, find_app, lock_app, raise_revision
from picloud.control.pages import Page, int_cursor, page_of
from picloud.control.records import Connection, fetch_row, fetch_rows
from picloud.control.scripts import read_script
from picloud.errors import ConflictError, NotFoundError
from picloud.manifest import SCRIPT_SUFFIX, DispatchMode, RouteEntry, parse_manifest, path_shape
from picloud.queries import Queries

_SQL = Queries("control")


class Route(msgspec.Struct, frozen=True):
    """A route as it is served now.

    Attributes:
        auth: what it asks of its callers, as a manifest writes it.
        principal: whom its script runs as: its app.
    """

    id: int
    app: str
    method: str
    path: str
    script: str
    dispatch_mode: Literal["sync", "async"]
    auth: str | dict[str, str]
    principal: str
    created_at: dt.datetime

    @property
    def key(self) -> RouteKey:
        return route_key(self.method, self.path)

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"


#: Method and shape of the path: two routes that share them answer the same requests.
RouteKey = tuple[str, str]


def route_key(method: str, path: str) -> RouteKey:
    """What is unique among the routes of an app."""
    return method, path_shape(path)


async def list_routes(connection: Connection, app_name: str, *, limit: int, after: str | None) -> Page[Route]:
    """Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    rows = await _read(connection, app, after=int_cursor(after), limit=limit + 1)
    return page_of(rows, limit, lambda route: route.id)


async def read_route(connection: Connection, app: AppRow, route_id: int) -> Route:
    """Raises: NotFoundError."""
    rows = await _read(connection, app, route_id=route_id, limit=1)
    if not rows:
        raise NotFoundError(f"{app.name} has no route {route_id}")
    return rows[0]


async def read_all(connection: Connection, app: AppRow) -> list[Route]:
    """Every route of an app."""
    return await _read(connection, app, limit=None)


async def create_route(
    connection: Connection,
    app_name: str,
    *,
    method: str,
    path: str,
    script: str,
    mode: DispatchMode,
    auth: str | dict[str, str] = OPEN.kind,
) -> Route:
    """Add a route.

    Raises:
        NotFoundError: no such app or script.
        ManifestError: a method or path that cannot be served.
        ConflictError: another route answers the same requests.
    """
    entry = {
        "method": method,
        "path": path,
        "script": f"scripts/{script}{SCRIPT_SUFFIX}",
        "dispatch_mode": mode,
        "auth": auth,
    }
    wanted = parse_manifest({"app": {"name": "app"}, "route": [entry]}, "request").routes[0]
    app = await lock_app(connection, app_name)
    target = await read_script(connection, app, script)
    refuse_conflict(wanted, await read_all(connection, app))
    route_id = await insert_route(connection, app, wanted, target.id)
    await raise_revision(connection, app)
    return await read_route(connection, app, route_id)


async def remove_route(connection: Connection, app_name: str, route_id: int) -> None:
    """Raises: NotFoundError."""
    app = await lock_app(connection, app_name)
    if await fetch_row(connection, _SQL.delete_route, {"id": route_id, "app_id": app.id}) is None:
        raise NotFoundError(f"{app_name} has no route {route_id}")
    await raise_revision(connection, app)


def refuse_conflict(wanted: RouteEntry, existing: Iterable[Route]) -> None:
    """Raises: ConflictError: one of ``existing`` answers the requests of ``wanted``."""
    key = route_key(wanted.method, wanted.path)
    for route in existing:
        if route.key == key:
            raise ConflictError(
                f"{wanted.method} {wanted.path} answers the same requests as {route.label}, which runs {route.script}"
            )


# What a deploy is made of; the caller has locked the app


async def insert_route(connection: Connection, app: AppRow, entry: RouteEntry, script_id: int) -> int:
    """Add a route, which runs as its app; its id."""
    row = await fetch_row(
        connection,
        _SQL.insert_route,
        {
            "app_id": app.id,
            "method": entry.method,
            "path": entry.path,
            "script_id": script_id,
            "dispatch_mode": entry.dispatch_mode,
            "auth": entry.auth.to_json(),
        },
    )
    assert row is not None
    return int(row.id)


async def update_route(connection: Connection, route: Route, entry: RouteEntry, script_id: int) -> None:
    """Change a route."""
    await connection.execute(
        _SQL.update_route,
        {
            "id": route.id,
            "path": entry.path,
            "script_id": script_id,
            "dispatch_mode": entry.dispatch_mode,
            "auth": entry.auth.to_json(),
        },
    )


async def delete_route(connection: Connection, app: AppRow, route: Route) -> None:
    """Take a route away."""
    await connection.execute(_SQL.delete_route, {"id": route.id, "app_id": app.id})


async def _read(
    connection: Connection, app: AppRow, *, limit: int | None, route_id: int | None = None, after: int | None = None
) -> list[Route]:
    parameters = {"app": app.name, "app_id": app.id, "id": route_id, "after": after, "limit": limit}
    rows = await fetch_rows(connection, _SQL.routes, parameters)
    return [Route(**row._asdict() | {"auth": stored_auth(row.auth).to_data()}) for row in rows]
