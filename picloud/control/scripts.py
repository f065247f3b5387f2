"""Scripts and their immutable versions.

A script is a name and a pointer to its current version. Changing one writes a new version
and moves the pointer; a rollback only moves the pointer. Runs that have begun keep the
version they began with.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from picloud.access import Principal
from picloud.control.apps import AppRow, find_app, lock_app, raise_revision
from picloud.control.pages import Page, int_cursor, page_of
from picloud.control.records import Connection, fetch_row, fetch_rows, stored_json
from picloud.control.trigger_rows import cancel_waiting, lock_app_and_rows
from picloud.engine import ScriptLimits, check_script, parse_limits
from picloud.engine.limits import LIMIT_NAMES, timeout_seconds
from picloud.errors import ConflictError, InvalidInputError, NotFoundError, ScriptError
from picloud.manifest import SCRIPT_SUFFIX, ScriptEntry, parse_manifest
from picloud.queries import Queries
from picloud.settings import SandboxCeilings

_SQL = Queries("control")

#: What follows a script's name in the control API; a script in a folder cannot be called so.
_WORDS_OF_THE_API = frozenset({"versions", "rollback", "invoke"})


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


class Draft(msgspec.Struct, frozen=True):
    """A script as somebody wants it to be; ``file`` is how messages name it."""

    name: str
    file: str
    source: str
    limits: ScriptLimits

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.source.encode()).digest()


class Wish(msgspec.Struct, frozen=True):
    """What somebody asks for by name; without limits it keeps those it has."""

    name: str
    source: str
    limits: Mapping[str, Any] | None


class CurrentScript(msgspec.Struct, frozen=True):
    """What is compared with a draft."""

    id: int
    name: str
    version: int
    sha256: bytes
    limits: ScriptLimits

    def equals(self, draft: Draft) -> bool:
        return self.sha256 == draft.sha256 and self.limits == draft.limits


async def check_drafts(drafts: Sequence[Draft]) -> None:
    """Compile every draft, off the event loop.

    Raises:
        ScriptError: names every draft that does not compile, one a line, as ``file:line:column: message``.
        InvalidInputError: a name or source that cannot be stored.
    """
    for draft in drafts:
        folder, _, last = draft.name.rpartition("/")
        if folder and last in _WORDS_OF_THE_API:
            raise InvalidInputError(f"{draft.file}: in a folder the name {last!r} is taken by the control API")
        if "\0" in draft.source:
            raise InvalidInputError(f"{draft.file}: the source holds a NUL character")
    problems = [problem for problem in await asyncio.to_thread(_compile, drafts) if problem is not None]
    if problems:
        first = problems[0][1]
        lines = (f"{file}:{error.line}:{error.column}: {error.message}" for file, error in problems)
        raise ScriptError("\n".join(lines), name=first.name, line=first.line, column=first.column)


def _compile(drafts: Sequence[Draft]) -> list[tuple[str, ScriptError] | None]:
    return [_problem(draft) for draft in drafts]


def _problem(draft: Draft) -> tuple[str, ScriptError] | None:
    try:
        check_script(draft.name, draft.source)
    except ScriptError as error:
        return draft.file, error
    return None


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


async def read_current(connection: Connection, app: AppRow) -> dict[str, CurrentScript]:
    """Every living script of an app by its name."""
    rows = await _read_scripts(connection, app, limit=None)
    return {
        row.name: CurrentScript(row.id, row.name, row.version, bytes(row.sha256), parse_limits(row.limits))
        for row in rows
    }


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


async def write_draft(
    connection: Connection,
    app: AppRow,
    principal: Principal,
    draft: Draft,
    *,
    current: CurrentScript | None,
    ceilings: SandboxCeilings,
) -> int:
    """Make the draft what runs from now on, as a new version.

    Returns:
        The version's number.
    """
    timeout_ms = round(timeout_seconds(draft.limits, ceilings) * 1_000)
    if current is None:
        row = await fetch_row(
            connection, _SQL.insert_script, {"app_id": app.id, "name": draft.name, "timeout_ms": timeout_ms}
        )
        assert row is not None
        script_id = row.id
    else:
        script_id = current.id
    version = await fetch_row(
        connection,
        _SQL.insert_version,
        {
            "script_id": script_id,
            "source": draft.source,
            "sha256": draft.sha256,
            "limits": draft.limits.to_json(),
            "principal_id": principal.id,
        },
    )
    assert version is not None
    await _point_to(connection, script_id, version.version, timeout_ms)
    return int(version.version)


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
        await write_draft(connection, app, principal, draft, current=current, ceilings=ceilings)
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
        await _point_to(connection, script.id, version, round(timeout_seconds(limits, ceilings) * 1_000))
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
    await delete_script(connection, script.id)
    await raise_revision(connection, app)
    return RemovedScript(name, max(0, count - cancelled), cancelled)


async def delete_script(connection: Connection, script_id: int) -> None:
    """Take a script away; its versions stay, for history and for rows that wait."""
    await connection.execute(_SQL.delete_script, {"script_id": script_id})


def checked_entry(name: str, limits: Mapping[str, Any]) -> ScriptEntry:
    """A script's name and limits, by the rules of a manifest. Raises: ManifestError."""
    script = {"file": f"scripts/{name}{SCRIPT_SUFFIX}", **limits}
    return parse_manifest({"app": {"name": "app"}, "script": [script]}, "request").scripts[0]


def limits_of(entry: ScriptEntry) -> ScriptLimits:
    """What a manifest's entry asks for."""
    return ScriptLimits(**{name: getattr(entry, name) for name in LIMIT_NAMES})


async def _point_to(connection: Connection, script_id: int, version: int, timeout_ms: int) -> None:
    await connection.execute(
        _SQL.set_current_version, {"script_id": script_id, "version": version, "timeout_ms": timeout_ms}
    )


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
