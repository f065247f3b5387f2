"""Triggers of an app: listed, made, replaced, switched off and on, removed; and what schedules and topics they make up.

``trigger_rows`` writes them; ``deploy`` writes those of a manifest with everything else.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from picloud.access import Principal
from picloud.control.apps import AppRow, find_app, raise_revision
from picloud.control.pages import Page, page_of
from picloud.control.queues import read_queue
from picloud.control.records import Connection
from picloud.control.scripts import read_script
from picloud.control.trigger_rows import (
    CurrentTrigger,
    TriggerWrite,
    cancel_waiting,
    lock_app_and_rows,
    read_triggers,
    write_triggers,
)
from picloud.errors import ConflictError, InvalidInputError, NotFoundError
from picloud.retries import Backoff, RetryPolicy
from picloud.settings import RetryDefaults
from picloud.triggers import (
    CronTrigger,
    DeadLetterTrigger,
    EmailTrigger,
    Kind,
    KvOp,
    Missed,
    PubsubTrigger,
    QueueTrigger,
    Schedule,
    Trigger,
    next_times,
)

#: How many times to come are shown of a schedule.
TIMES_SHOWN = 5


class OwnRetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a trigger itself says of its retries; what it does not say is the platform's."""

    max_attempts: int | UnsetType = UNSET
    backoff: Backoff | UnsetType = UNSET
    base_ms: int | UnsetType = UNSET
    max_ms: int | UnsetType = UNSET
    jitter_pct: int | UnsetType = UNSET


class StoredTrigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trigger as it is now; the members behind `created_at` are those of its kind.

    Attributes:
        principal: whom its runs act as: who made or last changed it.
        retry: what it says itself, as in the manifest.
        policy: what holds for the rows it writes.
        waiting: rows it has written that have not begun.
        next_at: cron: the first scheduled time that has not fired.
        fired_at: cron: when it last fired.
        trigger: dead_letter: the name of the trigger whose runs it handles.
        failed_script: dead_letter: the name of the script whose runs it handles.
    """

    id: int
    app: str
    name: str
    kind: Kind
    script: str
    enabled: bool
    principal: str
    retry: OwnRetry
    policy: RetryPolicy
    waiting: int
    created_at: dt.datetime
    collection: str | UnsetType = UNSET
    ops: list[KvOp] | UnsetType = UNSET
    schedule: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    missed: Missed | UnsetType = UNSET
    next_at: dt.datetime | UnsetType = UNSET
    fired_at: dt.datetime | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    queue: str | UnsetType = UNSET
    concurrency: int | UnsetType = UNSET
    address: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    trigger: str | UnsetType = UNSET
    failed_script: str | UnsetType = UNSET


class RemovedTrigger(msgspec.Struct, frozen=True):
    """A trigger that is gone, and what becomes of the rows it had written.

    Attributes:
        still_run: were accepted, and run.
        held: messages of its queue, which wait for another consumer.
        cancelled: ended as `cancelled`.
    """

    trigger: str
    kind: Kind
    still_run: int
    held: int
    cancelled: int


class TriggerSchedule(msgspec.Struct, frozen=True):
    """When a cron trigger fires.

    Attributes:
        next_times: the next five, in UTC; none while it is off.
        next_times_local: the same as clocks in its zone show them, with their offset from UTC.
    """

    id: int
    app: str
    trigger: str
    script: str
    enabled: bool
    schedule: str
    timezone: str
    missed: Missed
    next_times: list[dt.datetime]
    next_times_local: list[str]
    fired_at: dt.datetime | None


class Subscription(msgspec.Struct, frozen=True):
    """A trigger that runs for messages of a topic."""

    trigger: str
    script: str
    enabled: bool


class Topic(msgspec.Struct, frozen=True):
    """Topics somebody listens to, as a glob; ids are globs."""

    id: str
    app: str
    topic: str
    triggers: list[Subscription]


# Reading


async def list_triggers(
    connection: Connection, app_name: str, *, kind: Kind | None, limit: int, after: str | None
) -> Page[StoredTrigger]:
    """By name. Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    rows = await read_triggers(connection, app, kind=kind, after=after, limit=limit + 1)
    return page_of([_shown(app, row) for row in rows], limit, lambda trigger: trigger.name)


async def read_trigger(connection: Connection, app: AppRow, name: str) -> StoredTrigger:
    """Raises: NotFoundError."""
    return _shown(app, await _require(connection, app, name))


async def list_schedules(
    connection: Connection, app_name: str, now: dt.datetime, *, limit: int, after: str | None
) -> Page[TriggerSchedule]:
    """Cron triggers by name, with their next times after ``now``. Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    rows = await read_triggers(connection, app, kind="cron", after=after, limit=limit + 1)
    return page_of([_schedule(app, row, now) for row in rows], limit, lambda schedule: schedule.trigger)


async def list_topics(connection: Connection, app_name: str, *, limit: int, after: str | None) -> Page[Topic]:
    """Globs that somebody subscribes to, each with its triggers. Raises: NotFoundError."""
    app = await find_app(connection, app_name)
    topics = topics_of(app.name, await read_triggers(connection, app, kind="pubsub"))
    return page_of([each for each in topics if after is None or each.topic > after], limit, lambda each: each.topic)


def topics_of(app: str, triggers: Iterable[CurrentTrigger]) -> list[Topic]:
    """The globs of pubsub triggers in order, each once."""
    found: dict[str, list[Subscription]] = {}
    for each in triggers:
        if isinstance(each.trigger.detail, PubsubTrigger):
            one = Subscription(each.trigger.name, each.trigger.script, each.trigger.enabled)
            found.setdefault(each.trigger.detail.topic, []).append(one)
    return [Topic(glob, app, glob, found[glob]) for glob in sorted(found)]


# Changing


async def put_trigger(
    connection: Connection,
    app_name: str,
    principal: Principal,
    wanted: Trigger,
    defaults: RetryDefaults,
    *,
    may_replace: bool = True,
) -> tuple[StoredTrigger, bool]:
    """Make a trigger, or make the one of its name like it; the same as now writes nothing.

    Returns:
        The trigger as it is now, and whether it is new.

    Raises:
        NotFoundError: no such app or script.
        InvalidInputError: a dead-letter trigger that would wait for a trigger nobody has.
        ConflictError: there is one of this name and ``may_replace`` is false; another trigger consumes the queue or
            has the address.
    """
    app = await lock_app_and_rows(connection, app_name)
    existing = {each.trigger.name: each for each in await read_triggers(connection, app)}
    current = existing.get(wanted.name)
    if current is not None and not may_replace:
        raise ConflictError(f"{app.name} has a trigger {wanted.name!r} already")
    script = await read_script(connection, app, wanted.script)
    refuse_taken(wanted, existing.values())
    await _refuse_filters_for_nothing(connection, app, wanted, existing)
    policy = wanted.retry_policy(defaults)
    if current is None or not current.equals(wanted, policy):
        write = TriggerWrite(wanted, policy, script.id, principal.id, current)
        await write_triggers(connection, app, written=[write])
        await raise_revision(connection, app)
    return await read_trigger(connection, app, wanted.name), current is None


async def switch_trigger(connection: Connection, app_name: str, name: str, *, enabled: bool) -> StoredTrigger:
    """Let a trigger fire, or no more; it goes on acting as whom it did.

    A schedule that is switched on begins anew: nothing it missed while it was off fires.

    Raises:
        NotFoundError: no such app or trigger.
    """
    app = await lock_app_and_rows(connection, app_name)
    current = await _require(connection, app, name)
    if current.trigger.enabled != enabled:
        switched = replace(current.trigger, enabled=enabled)
        write = TriggerWrite(switched, current.policy, current.script_id, current.principal_id, current)
        await write_triggers(connection, app, written=[write])
        await raise_revision(connection, app)
    return await read_trigger(connection, app, name)


async def remove_trigger(
    connection: Connection, app_name: str, principal: Principal, name: str, *, cancels_waiting: bool
) -> RemovedTrigger:
    """Remove a trigger. What it has accepted still runs, or is cancelled; messages of its queue wait.

    Raises:
        NotFoundError: no such app or trigger.
    """
    app = await lock_app_and_rows(connection, app_name)
    current = await _require(connection, app, name)
    await write_triggers(connection, app, gone=[current])
    await raise_revision(connection, app)
    detail = current.trigger.detail
    if isinstance(detail, QueueTrigger):
        held = (await read_queue(connection, app, detail.queue)).held
        return RemovedTrigger(name, detail.kind, 0, held, 0)
    cancelled = 0
    if cancels_waiting:
        cancelled = await cancel_waiting(connection, app, by=principal.name, trigger_ids=[current.id])
    return RemovedTrigger(name, detail.kind, max(0, current.waiting - cancelled), 0, cancelled)


def refuse_taken(wanted: Trigger, existing: Iterable[CurrentTrigger]) -> None:
    """Raises: ConflictError: another of ``existing`` consumes the queue of ``wanted``, or has its address."""
    for each in existing:
        if each.trigger.name == wanted.name:
            continue
        match wanted.detail, each.trigger.detail:
            case QueueTrigger(queue=one), QueueTrigger(queue=other) if one == other:
                taken = f"the queue {one!r} has its one consumer"
            case EmailTrigger(address=one), EmailTrigger(address=other) if one == other:
                taken = f"the address {one!r} has its one trigger"
            case _:
                continue
        raise ConflictError(f"{taken} already, {each.trigger.name!r}", hint="change or remove that one")


async def _refuse_filters_for_nothing(
    connection: Connection, app: AppRow, wanted: Trigger, existing: dict[str, CurrentTrigger]
) -> None:
    """A handler that waits for what nobody has would be believed to work."""
    if not isinstance(wanted.detail, DeadLetterTrigger):
        return
    filtered = wanted.detail.trigger
    if filtered is not None and (filtered not in existing or existing[filtered].trigger.kind == "dead_letter"):
        raise InvalidInputError(f"trigger: no trigger whose runs can die is called {filtered!r}")
    if wanted.detail.failed_script is not None:
        await read_script(connection, app, wanted.detail.failed_script)


async def _require(connection: Connection, app: AppRow, name: str) -> CurrentTrigger:
    found = await read_triggers(connection, app, name=name, limit=1)
    if not found:
        raise NotFoundError(f"{app.name} has no trigger {name!r}", hint="`picloud triggers ls` lists them")
    return found[0]


# As people see them


def _shown(app: AppRow, current: CurrentTrigger) -> StoredTrigger:
    trigger = current.trigger
    detail: dict[str, Any] = {name: value for name, value in asdict(trigger.detail).items() if value is not None}
    if "ops" in detail:
        detail["ops"] = list(detail["ops"])
    times: dict[str, Any] = {"next_at": current.next_at if trigger.enabled else None, "fired_at": current.fired_at}
    return StoredTrigger(
        id=current.id,
        app=app.name,
        name=trigger.name,
        kind=trigger.kind,
        script=trigger.script,
        enabled=trigger.enabled,
        principal=current.principal,
        retry=OwnRetry(**trigger.retry.to_data()),
        policy=current.policy,
        waiting=current.waiting,
        created_at=current.created_at,
        **detail,
        **{name: value for name, value in times.items() if value is not None},
    )


def _schedule(app: AppRow, current: CurrentTrigger, now: dt.datetime) -> TriggerSchedule:
    detail = current.trigger.detail
    assert isinstance(detail, CronTrigger), "asked for by kind"
    schedule = Schedule(detail.schedule, detail.timezone)
    times: Sequence[dt.datetime] = next_times(schedule, now, TIMES_SHOWN) if current.trigger.enabled else ()
    zone = zoneinfo.ZoneInfo(detail.timezone)
    return TriggerSchedule(
        current.id,
        app.name,
        current.trigger.name,
        current.trigger.script,
        current.trigger.enabled,
        detail.schedule,
        detail.timezone,
        detail.missed,
        list(times),
        [time.astimezone(zone).isoformat() for time in times],
        current.fired_at,
    )
