"""Deploy: an app made to be what its manifest and files say, in one transaction.

1. The manifest is checked, what there is is compared with what is wanted (``plan``, pure functions),
   and every script that is new or changed is compiled.
2. Nothing to change: nothing is written, the app's revision stays.
3. The app's row is locked, the comparison made again (another deploy may have come between),
   and the changes are written: routes and triggers leave before the scripts they used, and come after
   those they need. A queue that is no longer named stays as long as there are messages in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from picloud.access import Principal
from picloud.control.apps import AppRow, find_app, hold_apps, insert_app, lock_app, raise_revision
from picloud.control.plan import (
    Change,
    Found,
    Kept,
    Wanted,
    changed_drafts,
    changed_triggers,
    is_same_route,
    kept_queues,
    leaving_queues,
    plan_changes,
)
from picloud.control.queues import delete_queues, hold_queues, read_queues
from picloud.control.records import Connection, fetch_rows
from picloud.control.routes import delete_route, insert_route, read_all, route_key, update_route
from picloud.control.scripts import Draft, check_drafts, delete_script, limits_of, read_current, write_draft
from picloud.control.trigger_rows import (
    TriggerWrite,
    cancel_waiting,
    make_queues,
    read_triggers,
    write_triggers,
)
from picloud.errors import InvalidInputError, ManifestError, NotFoundError
from picloud.manifest import SCRIPT_SUFFIX, Manifest, parse_manifest
from picloud.queries import Queries
from picloud.settings import Settings

_SQL = Queries("control")


class DeployPlan(msgspec.Struct, frozen=True):
    """What a deploy changes, or would change.

    Attributes:
        revision: of the app afterwards; 0 while there is no app.
        kept: what is no longer named and stays, because messages wait in it.
    """

    app: str
    dry_run: bool
    unchanged: bool
    revision: int
    changes: list[Change]
    kept: list[Kept]


async def deploy(
    connection: Connection,
    settings: Settings,
    principal: Principal,
    app_name: str,
    *,
    manifest: Mapping[str, Any],
    files: Mapping[str, str],
    dry_run: bool,
    cancels_waiting: bool = False,
) -> DeployPlan:
    """Make the app what ``manifest`` and ``files`` say.

    Args:
        connection: in a transaction of the caller's.
        manifest: ``picloud.toml`` as values.
        files: every script of the app by its path, ``scripts/lib/util.rhai``. A script that is not
            among them is removed.
        cancels_waiting: rows of scripts and triggers that are removed end as cancelled, and queues that are no longer
            named are removed with their messages.

    Raises:
        ManifestError: the manifest is wrong, or names another app than ``app_name``.
        ScriptError: names every script that does not compile.
        ConflictError: a mail address is another app's.
    """
    wanted = read_wanted(app_name, manifest, files, cancels_waiting=cancels_waiting)
    try:
        app = await find_app(connection, app_name)
        found = await _read_found(connection, app)
    except NotFoundError:
        app, found = None, Found()
    await check_drafts(changed_drafts(wanted, found))
    plan = _plan(wanted, found, settings, app, is_new=app is None, dry_run=dry_run)
    if plan.unchanged or dry_run:
        return plan
    return await _change(connection, settings, principal, wanted, checked=changed_drafts(wanted, found))


async def _change(
    connection: Connection, settings: Settings, principal: Principal, wanted: Wanted, *, checked: list[Draft]
) -> DeployPlan:
    """Compare again with the app locked, and write what differs."""
    await hold_apps(connection)
    is_new = await insert_app(connection, principal, wanted.app)
    app = await lock_app(connection, wanted.app)
    await hold_queues(connection, app)
    found = await _read_found(connection, app)
    plan = _plan(wanted, found, settings, app, is_new=is_new)
    if plan.unchanged:
        return plan
    # Somebody else's deploy came between and left a script that nobody has compiled for us.
    await check_drafts([draft for draft in changed_drafts(wanted, found) if draft not in checked])
    await _write(connection, settings, principal, app=app, wanted=wanted, found=found)
    return plan if is_new else msgspec.structs.replace(plan, revision=await raise_revision(connection, app))


def _plan(
    wanted: Wanted, found: Found, settings: Settings, app: AppRow | None, *, is_new: bool, dry_run: bool = False
) -> DeployPlan:
    changes = [Change("create", "app", wanted.app)] * is_new + plan_changes(wanted, found, settings)
    revision = 0 if app is None else app.revision
    return DeployPlan(wanted.app, dry_run, not changes, revision, changes, kept_queues(wanted, found))


def read_wanted(
    app_name: str, manifest: Mapping[str, Any], files: Mapping[str, str], *, cancels_waiting: bool = False
) -> Wanted:
    """The manifest and the files as one. Raises: ManifestError."""
    parsed = parse_manifest(manifest)
    strangers = sorted(path for path in files if not path.endswith(SCRIPT_SUFFIX))
    if strangers:
        raise InvalidInputError(f"files: {strangers[0]!r} is not a script; only *{SCRIPT_SUFFIX} files are deployed")
    if parsed.app != app_name:
        raise ManifestError(f"picloud.toml: app.name: is {parsed.app!r}, but the request deploys {app_name!r}")
    return Wanted(
        app_name,
        {draft.name: draft for draft in _drafts(parsed, files)},
        {route_key(route.method, route.path): route for route in parsed.routes},
        {entry.trigger.name: entry.trigger for entry in parsed.triggers},
        frozenset(parsed.queue_names),
        cancels_waiting,
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
        {current.trigger.name: current for current in await read_triggers(connection, app)},
        {queue.name: queue for queue in await read_queues(connection, app)},
    )


# Writing it


async def _write(
    connection: Connection, settings: Settings, principal: Principal, *, app: AppRow, wanted: Wanted, found: Found
) -> None:
    """Write everything that differs; the app's row is locked, and nobody sends to its queues."""
    for key, route in found.routes.items():
        if key not in wanted.routes:
            await delete_route(connection, app, route)
    for draft in changed_drafts(wanted, found):
        current = found.scripts.get(draft.name)
        await write_draft(connection, app, principal, draft, current=current, ceilings=settings.sandbox)
    script_ids = {name: script.id for name, script in (await read_current(connection, app)).items()}
    await _write_routes(connection, app, wanted, found, script_ids)
    await make_queues(connection, app, sorted(wanted.queues - found.queues.keys()))
    await _write_triggers(connection, settings, principal, app, wanted=wanted, found=found, script_ids=script_ids)
    if wanted.cancels_waiting:
        await _cancel_waiting(connection, principal, app, wanted, found)
    await delete_queues(connection, leaving_queues(wanted, found))
    for name, script in found.scripts.items():
        if name not in wanted.drafts:
            await delete_script(connection, script.id)


async def _write_routes(
    connection: Connection,
    app: AppRow,
    wanted: Wanted,
    found: Found,
    script_ids: Mapping[str, int],
) -> None:
    for key, entry in wanted.routes.items():
        route = found.routes.get(key)
        if route is None:
            await insert_route(connection, app, entry, script_ids[entry.script])
        elif not is_same_route(entry, route):
            await update_route(connection, route, entry, script_ids[entry.script])


async def _write_triggers(
    connection: Connection,
    settings: Settings,
    principal: Principal,
    app: AppRow,
    *,
    wanted: Wanted,
    found: Found,
    script_ids: Mapping[str, int],
) -> None:
    written = [
        TriggerWrite(
            trigger,
            trigger.retry_policy(settings.retry),
            script_ids[trigger.script],
            principal.id,
            found.triggers.get(trigger.name),
        )
        for trigger in changed_triggers(wanted, found, settings)
    ]
    gone = [current for name, current in found.triggers.items() if name not in wanted.triggers]
    if written or gone:
        await write_triggers(connection, app, gone=gone, written=written)


async def _cancel_waiting(
    connection: Connection, principal: Principal, app: AppRow, wanted: Wanted, found: Found
) -> None:
    await cancel_waiting(
        connection,
        app,
        by=principal.name,
        script_ids=[script.id for name, script in found.scripts.items() if name not in wanted.drafts],
        trigger_ids=[current.id for name, current in found.triggers.items() if name not in wanted.triggers],
        queue_ids=[queue.id for queue in leaving_queues(wanted, found)],
    )
