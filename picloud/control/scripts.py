"""Scripts and their immutable versions.

A script is a name and a pointer to its current version. Changing one writes a new version
and moves the pointer; a rollback, of one script or of a whole release, only moves pointers.
Runs that have begun keep the version they began with.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from picloud.access import Principal
from picloud.control.apps import AppRow, find_app, lock_app, raise_revision
from picloud.control.drafts import (
    Draft,
    StoredVersion,
    check_drafts,
    delete_scripts,
    limits_of,
    point_to,
    read_current,
    timeout_ms,
    write_drafts,
)
from picloud.control.pages import Page, int_cursor, page_of
from picloud.control.records import Connection, fetch_row, fetch_rows, stored_json
from picloud.control.trigger_rows import cancel_waiting, lock_app_and_rows
from picloud.engine import parse_limits
from picloud.errors import ConflictError, NotFoundError
from picloud.manifest import SCRIPT_SUFFIX, ScriptEntry, parse_manifest
from picloud.queries import Queries
from picloud.settings import SandboxCeilings

_SQL = Queries("control")


class Script(msgspec.Struct, frozen=True):
    """A script as it runs now.

    Attributes:
        limits: what the current version asks for; the platform's ceilings hold besides.
        source: only where one script is shown.
        waiting: rows that still have to run it; only where one script is shown.
    """

    id: int
    app: str
    name: str
    version: int
    sha256: str
    limits: Any
    timeout_seconds: float
    created_at: dt.datetime
    updated_at: dt.datetime
    updated_by: str
    source: str | None = None
    waiting: int | None = None


class RemovedScript(msgspec.Struct, frozen=True):
    """A script that is gone, and what becomes of the rows that were accepted for it.

    Attributes:
        still_run: at the version that was current.
        cancelled: ended as `cancelled`.
    """

    script: str
    still_run: int
    cancelled: int


class Version(msgspec.Struct, frozen=True):
    """One version of a script, which never changes."""

    id: int
    version: int
    sha256: str
    limits: Any
    created_at: dt.datetime
    created_by: str
    is_current: bool
    source: str | None = None


class Wish(msgspec.Struct, frozen=True):
    """What somebody asks for by name; without limits it keeps those it has."""

    name: str
    source: str
    limits: Mapping[str, Any] | None


# Reading


async def list_scripts(connection: Connection, app_name: str, *, limit: int, after: str | None) -> Page[Script]:
    """Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    rows = await _read_scripts(connection, app, after=after, limit=limit + 1)
    return page_of([_script(row) for row in rows], limit, lambda script: script.name)


async def read_script(connection: Connection, app: AppRow, name: str) -> Script:
    """One script with its source. Raises: NotFoundError."""
    rows = await _read_scripts(connection, app, name=name, limit=1, with_source=True)
    if not rows:
        raise NotFoundError(f"{app.name} has no script {name!r}")
    return _script(rows[0])


async def show_script(connection: Connection, app: AppRow, name: str) -> Script:
    """One script with its source, and how much waits for it. Raises: NotFoundError."""
    script = await read_script(connection, app, name)
    return msgspec.structs.replace(script, waiting=await _waiting(connection, script.id))


async def _waiting(connection: Connection, script_id: int) -> int:
    row = await fetch_row(connection, _SQL.waiting_rows, {"script_ids": [script_id]})
    return 0 if row is None else int(row.rows)


async def list_versions(
    connection: Connection, app: AppRow, name: str, *, limit: int, after: str | None
) -> Page[Version]:
    """Newest first. Raises: NotFoundError."""
    script = await read_script(connection, app, name)
    rows = await _read_versions(connection, script.id, after=int_cursor(after), limit=limit + 1)
    return page_of(rows, limit, lambda version: version.version)


async def read_version(connection: Connection, app: AppRow, name: str, version: int) -> Version:
    """One version with its source. Raises: NotFoundError."""
    script = await read_script(connection, app, name)
    found = await _read_versions(connection, script.id, version=version, limit=1, with_source=True)
    if not found:
        raise NotFoundError(f"{name} has no version {version}")
    return found[0]


# Changing; the caller has locked the app


async def put_script(
    connection: Connection, app_name: str, principal: Principal, wish: Wish, ceilings: SandboxCeilings
) -> tuple[Script, bool]:
    """Write a new version of a script, or its first; the same source and limits write nothing.

    Returns:
        The script as it is now, and whether it is new.

    Raises:
        ScriptError: it does not compile.
        NotFoundError: there is no such app.
        ManifestError: the name is none.
    """
    entry = checked_entry(wish.name, wish.limits or {})
    draft = Draft(entry.name, entry.file, wish.source, limits_of(entry))
    await check_drafts([draft])
    app = await lock_app(connection, app_name)
    current = (await read_current(connection, app)).get(draft.name)
    if current is not None and wish.limits is None:
        draft = msgspec.structs.replace(draft, limits=current.limits)
    if current is None or not current.equals(draft):
        found = {} if current is None else {draft.name: current}
        await write_drafts(connection, app, principal, [draft], current=found, ceilings=ceilings)
        await raise_revision(connection, app)
    return await read_script(connection, app, draft.name), current is None


async def rollback(
    connection: Connection, app_name: str, name: str, version: int | None, ceilings: SandboxCeilings
) -> Script:
    """Make an earlier version current again.

    Args:
        version: None: the one before the current one.

    Raises:
        NotFoundError: no such app, script or version.
        ConflictError: there is nothing to go back to.
    """
    app = await lock_app(connection, app_name)
    script = await read_script(connection, app, name)
    if version is None:
        row = await fetch_row(connection, _SQL.previous_version, {"script_id": script.id})
        if row is None or row.version is None:
            raise ConflictError(f"{name} has no version before {script.version}")
        version = int(row.version)
    target = await read_version(connection, app, name, version)
    if not target.is_current:
        limits = parse_limits(msgspec.json.encode(target.limits).decode())
        await point_to(connection, {StoredVersion(script.id, version): timeout_ms(limits, ceilings)})
        await raise_revision(connection, app)
    return await read_script(connection, app, name)


async def remove_script(
    connection: Connection, app_name: str, principal: Principal, name: str, *, cancels_waiting: bool
) -> RemovedScript:
    """Remove a script that no route and no trigger uses; rows that wait for it still run, or are cancelled.

    Raises:
        NotFoundError: no such app or script.
        ConflictError: names the routes and triggers that use it.
    """
    app = await lock_app_and_rows(connection, app_name)
    script = await read_script(connection, app, name)
    users = await fetch_rows(connection, _SQL.users_of_script, {"script_id": script.id})
    if users:
        shown = ", ".join(row.label for row in users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        raise ConflictError(f"{name} is used by {shown}", hint="remove the routes and triggers first")
    count = await _waiting(connection, script.id)
    cancelled = 0
    if cancels_waiting and count:
        cancelled = await cancel_waiting(connection, app, by=principal.name, script_ids=[script.id])
    await delete_scripts(connection, [script.id])
    await raise_revision(connection, app)
    return RemovedScript(name, max(0, count - cancelled), cancelled)


def checked_entry(name: str, limits: Mapping[str, Any]) -> ScriptEntry:
    """A script's name and limits, by the rules of a manifest. Raises: ManifestError."""
    script = {"file": f"scripts/{name}{SCRIPT_SUFFIX}", **limits}
    return parse_manifest({"app": {"name": "app"}, "script": [script]}, "request").scripts[0]


async def _read_scripts(
    connection: Connection,
    app: AppRow,
    *,
    limit: int | None,
    name: str | None = None,
    after: str | None = None,
    with_source: bool = False,
) -> list[Any]:
    parameters = {
        "app": app.name,
        "app_id": app.id,
        "name": name,
        "after": after,
        "limit": limit,
        "with_source": with_source,
    }
    return await fetch_rows(connection, _SQL.scripts, parameters)


async def _read_versions(
    connection: Connection,
    script_id: int,
    *,
    limit: int,
    version: int | None = None,
    after: int | None = None,
    with_source: bool = False,
) -> list[Version]:
    parameters = {
        "script_id": script_id,
        "version": version,
        "after": after,
        "limit": limit,
        "with_source": with_source,
    }
    rows = await fetch_rows(connection, _SQL.versions, parameters)
    return [
        Version(
            row.version,
            row.version,
            bytes(row.sha256).hex(),
            stored_json(row.limits.encode()),
            row.created_at,
            row.created_by,
            row.is_current,
            row.source,
        )
        for row in rows
    ]


def _script(row: Any) -> Script:
    return Script(
        id=row.id,
        app=row.app,
        name=row.name,
        version=row.version,
        sha256=bytes(row.sha256).hex(),
        limits=stored_json(row.limits.encode()),
        timeout_seconds=row.timeout_ms / 1_000,
        created_at=row.created_at,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
        source=row.source,
    )
