"""What there is of an app, as a plan compares it: read, or imagined as a deploy would have left it."""

from __future__ import annotations

import datetime as dt

from picloud.control.apps import AppRow
from picloud.control.drafts import CurrentScript, read_current
from picloud.control.plan import Found, Wanted
from picloud.control.queues import StoredQueue, read_queues
from picloud.control.records import Connection, fetch_rows
from picloud.control.routes import Route, RouteKey, read_all
from picloud.control.trigger_rows import CurrentTrigger, read_triggers
from picloud.queries import Queries
from picloud.settings import Settings

_SQL = Queries("control")

_NEVER = dt.datetime.fromtimestamp(0, dt.UTC)


async def read_found(connection: Connection, app: AppRow) -> Found:
    """What there is of the app."""
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


def found_after(wanted: Wanted, settings: Settings) -> Found:
    """What there would be after ``wanted``, whose scripts are stored, with nothing waiting: to compare two releases."""
    return Found(
        {name: _script(wanted, name) for name in wanted.drafts},
        {key: _route(wanted, key) for key in wanted.routes},
        triggers={name: _trigger(wanted, name, settings) for name in wanted.triggers},
        queues={name: _queue(wanted, name) for name in wanted.queues},
    )


def _script(wanted: Wanted, name: str) -> CurrentScript:
    draft = wanted.drafts[name]
    assert draft.stored is not None, "of a release"
    return CurrentScript(draft.stored.script_id, name, draft.stored.version, draft.sha256, draft.limits)


def _route(wanted: Wanted, key: RouteKey) -> Route:
    entry = wanted.routes[key]
    return Route(
        id=0,
        app=wanted.app,
        method=entry.method,
        path=entry.path,
        script=entry.script,
        dispatch_mode=entry.dispatch_mode,
        auth=entry.auth.to_data(),
        principal="",
        created_at=_NEVER,
    )


def _trigger(wanted: Wanted, name: str, settings: Settings) -> CurrentTrigger:
    trigger = wanted.triggers[name]
    return CurrentTrigger(
        id=0,
        trigger=trigger,
        policy=trigger.retry_policy(settings.retry),
        script_id=0,
        principal_id=0,
        principal="",
        queue_id=None,
        waiting=0,
        created_at=_NEVER,
        next_at=None,
        fired_at=None,
    )


def _queue(wanted: Wanted, name: str) -> StoredQueue:
    return StoredQueue(
        id=0,
        app=wanted.app,
        name=name,
        consumer=None,
        script=None,
        is_consumed=False,
        concurrency=None,
        waiting=0,
        held=0,
        in_flight=0,
        oldest_seconds=None,
        created_at=_NEVER,
    )
