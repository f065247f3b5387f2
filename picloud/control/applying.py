"""Writes what a plan says: from the app there is to the app that is wanted.

The caller has locked the app and holds its queues, and raises its revision afterwards. Routes leave
before the scripts they ran; routes and triggers come after those they need.
"""

from __future__ import annotations

from collections.abc import Mapping

from picloud.access import Principal
from picloud.control.apps import AppRow
from picloud.control.drafts import delete_scripts, read_current, restore_versions, write_drafts
from picloud.control.plan import Found, Wanted, changed_drafts, changed_triggers, is_same_route, leaving_queues
from picloud.control.queues import delete_queues
from picloud.control.records import Connection
from picloud.control.routes import delete_route, insert_route, update_route
from picloud.control.trigger_rows import TriggerWrite, assign_queues, cancel_waiting, make_queues, write_triggers
from picloud.settings import Settings


async def write_changes(
    connection: Connection, settings: Settings, principal: Principal, *, app: AppRow, wanted: Wanted, found: Found
) -> None:
    """Write everything that differs; the app's row is locked, and nobody sends to its queues."""
    for key, route in found.routes.items():
        if key not in wanted.routes:
            await delete_route(connection, app, route)
    await _write_scripts(connection, settings, principal, app, wanted, found)
    script_ids = {name: script.id for name, script in (await read_current(connection, app)).items()}
    await _write_routes(connection, app, wanted, found, script_ids)
    await make_queues(connection, app, sorted(wanted.queues - found.queues.keys()))
    await _write_triggers(connection, settings, principal, app, wanted=wanted, found=found, script_ids=script_ids)
    if wanted.cancels_waiting:
        await _cancel_waiting(connection, principal, app, wanted, found)
    await delete_queues(connection, leaving_queues(wanted, found))
    gone = [script.id for name, script in found.scripts.items() if name not in wanted.drafts]
    await delete_scripts(connection, gone)


async def _write_scripts(
    connection: Connection, settings: Settings, principal: Principal, app: AppRow, wanted: Wanted, found: Found
) -> None:
    """Write new versions, and point at those that are there already."""
    drafts = changed_drafts(wanted, found)
    new = [draft for draft in drafts if draft.stored is None]
    stored = [draft for draft in drafts if draft.stored is not None]
    await write_drafts(connection, app, principal, new, current=found.scripts, ceilings=settings.sandbox)
    if stored:
        replaced = await restore_versions(connection, stored, current=found.scripts, ceilings=settings.sandbox)
        consuming = [each for each in found.triggers.values() if each.script_id in replaced]
        await assign_queues(connection, sorted(each.queue_id for each in consuming if each.queue_id is not None))


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
