"""Deploy: an app made to be what its manifest and files say, in one transaction.

1. The manifest is checked, what there is is compared with what is wanted (``plan_changes``, a pure
   function), and every script that is new or changed is compiled.
2. Nothing to change: nothing is written, the app's revision stays.
3. The app's row is locked, the comparison made again (another deploy may have come between),
   and the changes are written: routes leave before the scripts they used, and come after those they need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from picloud.control.apps import AppRow, find_app, insert_app, lock_app, raise_revision
from picloud.control.identity import Principal
from picloud.control.records import Connection, fetch_rows
from picloud.control.routes import (
    Route,
    RouteKey,
    delete_route,
    insert_route,
    read_all,
    route_key,
    update_route,
)
from picloud.control.scripts import (
    CurrentScript,
    Draft,
    check_drafts,
    delete_script,
    limits_of,
    read_current,
    write_draft,
)
from picloud.engine.limits import LIMIT_NAMES
from picloud.errors import InvalidInputError, ManifestError, NotFoundError
from picloud.manifest import SCRIPT_SUFFIX, Manifest, RouteEntry, parse_manifest
from picloud.queries import Queries
from picloud.settings import SandboxCeilings, Settings

_SQL = Queries("control")

Action = Literal["create", "update", "delete"]


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a plan; ``note`` says what its action does not."""

    action: Action
    kind: Literal["app", "script", "route"]
    name: str
    note: str | None = None


class DeployPlan(msgspec.Struct, frozen=True):
    """What a deploy changes, or would change.

    Attributes:
        revision: of the app afterwards; 0 while there is no app.
    """

    app: str
    dry_run: bool
    unchanged: bool
    revision: int
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the manifest and the files ask for."""

    app: str
    drafts: Mapping[str, Draft]
    routes: Mapping[RouteKey, RouteEntry]


@dataclass(frozen=True, slots=True)
class Found:
    """What there is; empty for an app that does not exist."""

    scripts: Mapping[str, CurrentScript] = field(default_factory=dict[str, CurrentScript])
    routes: Mapping[RouteKey, Route] = field(default_factory=dict[RouteKey, Route])
    #: Rows that still have to run a script, by its id.
    waiting: Mapping[int, int] = field(default_factory=dict[int, int])


async def deploy(
    connection: Connection,
    settings: Settings,
    principal: Principal,
    app_name: str,
    *,
    manifest: Mapping[str, Any],
    files: Mapping[str, str],
    dry_run: bool,
) -> DeployPlan:
    """Make the app what ``manifest`` and ``files`` say.

    Args:
        connection: in a transaction of the caller's.
        manifest: ``picloud.toml`` as values.
        files: every script of the app by its path, ``scripts/lib/util.rhai``. A script that is not
            among them is removed.

    Raises:
        ManifestError: the manifest is wrong, or names another app than ``app_name``.
        ScriptError: names every script that does not compile.
    """
    wanted = read_wanted(app_name, manifest, files)
    try:
        app = await find_app(connection, app_name)
        found = await _read_found(connection, app)
    except NotFoundError:
        app, found = None, Found()
    await check_drafts(_changed(wanted, found))
    changes = _plan(wanted, found, settings.sandbox, is_new=app is None)
    revision = 0 if app is None else app.revision
    if changes and not dry_run:
        changes, revision = await _change(connection, settings, principal, wanted, checked=_changed(wanted, found))
    return DeployPlan(app_name, dry_run, not changes, revision, changes)


async def _change(
    connection: Connection, settings: Settings, principal: Principal, wanted: Wanted, *, checked: list[Draft]
) -> tuple[list[Change], int]:
    """Compare again with the app locked, and write what differs; the second value is the revision."""
    is_new = await insert_app(connection, principal, wanted.app)
    app = await lock_app(connection, wanted.app)
    found = await _read_found(connection, app)
    changes = _plan(wanted, found, settings.sandbox, is_new=is_new)
    if not changes:
        return changes, app.revision
    # Somebody else's deploy came between and left a script that nobody has compiled for us.
    await check_drafts([draft for draft in _changed(wanted, found) if draft not in checked])
    await _write(connection, settings.sandbox, principal, app=app, wanted=wanted, found=found)
    return changes, app.revision if is_new else await raise_revision(connection, app)


def _changed(wanted: Wanted, found: Found) -> list[Draft]:
    """The drafts that would be written: the others were compiled when they were."""
    return [draft for name, draft in wanted.drafts.items() if not _is_current(draft, found.scripts.get(name))]


def _is_current(draft: Draft, current: CurrentScript | None) -> bool:
    return current is not None and current.equals(draft)


def _plan(wanted: Wanted, found: Found, ceilings: SandboxCeilings, *, is_new: bool) -> list[Change]:
    return [Change("create", "app", wanted.app)] * is_new + plan_changes(wanted, found, ceilings)


def read_wanted(app_name: str, manifest: Mapping[str, Any], files: Mapping[str, str]) -> Wanted:
    """The manifest and the files as one. Raises: ManifestError."""
    parsed = parse_manifest(manifest)
    strangers = sorted(path for path in files if not path.endswith(SCRIPT_SUFFIX))
    if strangers:
        raise InvalidInputError(f"files: {strangers[0]!r} is not a script; only *{SCRIPT_SUFFIX} files are deployed")
    if parsed.app != app_name:
        raise ManifestError(f"picloud.toml: app.name: is {parsed.app!r}, but the request deploys {app_name!r}")
    if parsed.triggers or parsed.queues:
        raise ManifestError("picloud.toml: a trigger or queue cannot be deployed yet", code="triggers_not_supported")
    return Wanted(
        app_name,
        {draft.name: draft for draft in _drafts(parsed, files)},
        {route_key(route.method, route.path): route for route in parsed.routes},
    )


def _drafts(manifest: Manifest, files: Mapping[str, str]) -> list[Draft]:
    return [Draft(entry.name, entry.file, files[entry.file], limits_of(entry)) for entry in manifest.scripts_of(files)]


async def _read_found(connection: Connection, app: AppRow) -> Found:
    scripts = await read_current(connection, app)
    script_ids = [script.id for script in scripts.values()]
    waiting = await fetch_rows(connection, _SQL.waiting_rows, {"script_ids": script_ids})
    return Found(
        scripts,
        {route.key: route for route in await read_all(connection, app)},
        {row.script_id: row.rows for row in waiting},
    )


# The plan: pure


def plan_changes(wanted: Wanted, found: Found, ceilings: SandboxCeilings) -> list[Change]:
    """What turns ``found`` into ``wanted``, scripts before routes, each in the order of names."""
    return [*_script_changes(wanted, found, ceilings), *_route_changes(wanted, found)]


def _script_changes(wanted: Wanted, found: Found, ceilings: SandboxCeilings) -> list[Change]:
    changes: list[Change] = []
    for name in sorted({*wanted.drafts, *found.scripts}):
        draft, current = wanted.drafts.get(name), found.scripts.get(name)
        if draft is None:
            assert current is not None
            changes.append(Change("delete", "script", name, _note_on_waiting(current, found)))
        elif current is None:
            changes.append(Change("create", "script", name, _note_on_limits(draft, ceilings)))
        elif not current.equals(draft):
            changes.append(Change("update", "script", name, _note_on_limits(draft, ceilings)))
    return changes


def _note_on_waiting(script: CurrentScript, found: Found) -> str | None:
    count = found.waiting.get(script.id, 0)
    if not count:
        return None
    return f"{count} accepted execution{'s' if count > 1 else ''} of it will still run, at version {script.version}"


def _note_on_limits(draft: Draft, ceilings: SandboxCeilings) -> str | None:
    """Which limits are above what this installation allows: they are cut when a run begins."""
    ceiling_of = {name: getattr(ceilings, name, ceilings.max_timeout_seconds) for name in LIMIT_NAMES}
    asked = {name: getattr(draft.limits, name) for name in LIMIT_NAMES}
    cut = [
        f"{name} {value:g} is cut to this server's {ceiling_of[name]:g}"
        for name, value in asked.items()
        if value is not None and value > ceiling_of[name]
    ]
    return "; ".join(cut) or None


def _route_changes(wanted: Wanted, found: Found) -> list[Change]:
    changes: list[Change] = []
    for key in sorted({*wanted.routes, *found.routes}, key=lambda key: (key[1], key[0])):
        entry, current = wanted.routes.get(key), found.routes.get(key)
        if entry is None:
            assert current is not None
            changes.append(Change("delete", "route", current.label))
        elif current is None:
            changes.append(Change("create", "route", f"{entry.method} {entry.path}", f"runs {entry.script}"))
        elif not _is_same_route(entry, current):
            changes.append(Change("update", "route", f"{entry.method} {entry.path}", _note_on_route(entry, current)))
    return changes


def _is_same_route(entry: RouteEntry, current: Route) -> bool:
    return (entry.path, entry.script, entry.dispatch_mode) == (current.path, current.script, current.dispatch_mode)


def _note_on_route(entry: RouteEntry, current: Route) -> str:
    pairs = (
        ("path", current.path, entry.path),
        ("script", current.script, entry.script),
        ("dispatch_mode", current.dispatch_mode, entry.dispatch_mode),
    )
    return ", ".join(f"{name} {before} → {after}" for name, before, after in pairs if before != after)


# Writing it


async def _write(
    connection: Connection,
    ceilings: SandboxCeilings,
    principal: Principal,
    *,
    app: AppRow,
    wanted: Wanted,
    found: Found,
) -> None:
    """Write everything that differs; the app's row is locked."""
    for key, route in found.routes.items():
        if key not in wanted.routes:
            await delete_route(connection, app, route)
    for draft in _changed(wanted, found):
        current = found.scripts.get(draft.name)
        await write_draft(connection, app, principal, draft, current=current, ceilings=ceilings)
    await _write_routes(connection, principal, app, wanted, found)
    for name, script in found.scripts.items():
        if name not in wanted.drafts:
            await delete_script(connection, script.id)


async def _write_routes(
    connection: Connection, principal: Principal, app: AppRow, wanted: Wanted, found: Found
) -> None:
    script_ids = {name: script.id for name, script in (await read_current(connection, app)).items()}
    for key, entry in wanted.routes.items():
        route = found.routes.get(key)
        if route is None:
            await insert_route(connection, app, principal, entry, script_ids[entry.script])
        elif not _is_same_route(entry, route):
            await update_route(connection, principal, route, entry, script_ids[entry.script])
